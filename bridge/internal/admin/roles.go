package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead/fairlead/bridge/internal/dynamic"
	"github.com/fairlead/fairlead/bridge/internal/identity"
	"github.com/fairlead/fairlead/bridge/internal/store"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1/adminv1connect"
)

// Trail keeps what people changed (store.Store).
type Trail interface {
	PutAudit(ctx context.Context, a store.Audit) error
	Audits(ctx context.Context, before uint64, limit int) ([]store.Audit, error)
}

// person is who calls.
type person struct {
	identity.Identity

	remote string
}

type personKey struct{}

func (p person) isOperator() bool { return p.Role == identity.RoleOperator }

// manages tells whether a person may change accounts, if not all.
func (p person) manages() bool { return p.isOperator() || p.Role == identity.RoleAccountManager }

// caller is who makes the call of a context. The guard has put it there; nobody may do anything without.
func caller(ctx context.Context) person {
	p, _ := ctx.Value(personKey{}).(person)
	return p
}

// change is something that a call does, and who may do it.
type change struct {
	// action and target are for the audit trail.
	action, target, detail string
	may                    bool
	// right says what a caller lacks who may not.
	right string
}

const (
	operatorOnly = "this needs the role operator"
	managerOnly  = "this needs the role operator or account-manager"
)

// changes tells what a request does; nil: it only reads, which every role may. A request that is not known here is taken for a change that only
// an operator may do, so that no new one is open by mistake.
func (s *Server) changes(ctx context.Context, procedure string, message any) (*change, error) {
	p := caller(ctx)
	account := func(action, name string) *change {
		return &change{action: action, target: name, may: p.May(name), right: fmt.Sprintf("account %q: this needs the role operator, or account-manager of it", name)}
	}
	switch m := message.(type) {
	case *adminv1.GetStatusRequest, *adminv1.ListAccountsRequest, *adminv1.ListTokensRequest, *adminv1.ListAuditRequest,
		*adminv1.ListOperationsRequest, *adminv1.ListOperationsModesRequest, *adminv1.GetAccountRequest, *adminv1.ListAgentsRequest, *adminv1.DiagnoseRequest, *adminv1.ListDynamicAccountsRequest:
		return nil, nil //nolint:nilnil // see above
	case *adminv1.RemoveAccountRequest:
		return account("account.remove", m.GetName()), nil
	case *adminv1.ReleaseAccountRequest:
		return account("account.release", m.GetName()), nil
	case *adminv1.PauseAccountRequest:
		return account("account.pause", m.GetName()), nil
	case *adminv1.ResumeAccountRequest:
		return account("account.resume", m.GetName()), nil
	case *adminv1.ResyncAccountRequest:
		c := account("account.resync", m.GetName())
		c.detail = m.GetKind()
		return c, nil
	case *adminv1.CreateTokenRequest:
		c := &change{action: "token.create", target: strings.Join(m.GetAccounts(), ","), may: p.Role == identity.RoleOperator, right: operatorOnly,
			detail: fmt.Sprintf("ttl=%s uses=%d role=%s description=%s", time.Duration(m.GetTtlSeconds())*time.Second, m.GetUses(), m.GetRole(), m.GetDescription())} //nolint:gosec // for people
		if m.GetRole() == "" {
			c.may, c.right = p.Covers(m.GetAccounts()), "this needs the role operator, or account-manager of all these accounts"
		}
		return c, nil
	case *adminv1.RevokeTokenRequest:
		return s.revokes(ctx, p, m.GetId())
	case *adminv1.SetOperationsModeRequest:
		return &change{action: "operations.mode", target: m.GetPattern(), detail: "mode=" + m.GetMode(), may: p.Covers([]string{m.GetPattern()}),
			right: "this needs the role operator, or account-manager of all these accounts"}, nil
	case *adminv1.SetLogLevelRequest:
		return &change{action: "log.level", target: m.GetLevel(), may: p.Role == identity.RoleOperator, right: operatorOnly}, nil
	case *adminv1.GetSupportRequest:
		return &change{action: "support.bundle", may: p.Role == identity.RoleOperator, right: operatorOnly}, nil
	case *adminv1.PutDynamicAccountsRequest:
		names := dynamic.Names(m.GetDefinitions())
		return &change{action: "dynamic.put", target: strings.Join(names, ","), may: p.Covers(names), right: "this needs the role operator, or account-manager of all these accounts"}, nil
	case *adminv1.ChangeDynamicAccountsRequest:
		return &change{action: "dynamic.change", target: strings.Join(m.GetNames(), ","), detail: m.GetChange(), may: p.Covers(m.GetNames()),
			right: "this needs the role operator, or account-manager of all these accounts"}, nil
	case *adminv1.DisconnectAgentRequest:
		return &change{action: "agent.disconnect", target: m.GetAgent(), may: p.Role == identity.RoleOperator, right: operatorOnly}, nil
	case *adminv1.RotateKeyRequest:
		return &change{action: "key.rotate", may: p.Role == identity.RoleOperator, right: operatorOnly}, nil
	case *adminv1.IssuePluginCertificateRequest:
		return &change{action: "plugin.certificate", may: p.Role == identity.RoleOperator, right: operatorOnly,
			detail: fmt.Sprintf("ttl=%s description=%s", time.Duration(m.GetTtlSeconds())*time.Second, m.GetDescription())}, nil //nolint:gosec // for people
	case *adminv1.ExecuteRequest:
		return account("account.execute", m.GetAccount()), nil
	}
	return &change{action: procedure, may: p.Role == identity.RoleOperator, right: operatorOnly}, nil
}

// revokes tells who may revoke a token: an operator, or who could have made it.
func (s *Server) revokes(ctx context.Context, p person, id string) (*change, error) {
	c := &change{action: "token.revoke", target: id, may: p.Role == identity.RoleOperator, right: "this needs the role operator, or account-manager of all accounts of an agents' token"}
	if p.Role != identity.RoleAccountManager {
		return c, nil
	}
	tokens, err := s.o.Tokens.List(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	for _, t := range tokens {
		if t.ID == id {
			c.may = t.Role == "" && p.Covers(t.Patterns)
		}
	}
	return c, nil
}

// roles lets through what the caller may do, and keeps the audit trail.
type roles struct{ server *Server }

// WrapUnary implements connect.Interceptor.
func (i roles) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		c, err := i.server.changes(ctx, r.Spec().Procedure, r.Any())
		if err != nil {
			return nil, err
		}
		if err := i.server.allow(ctx, c); err != nil {
			return nil, err
		}
		response, err := next(ctx, r)
		if made, ok := response.(*connect.Response[adminv1.CreateTokenResponse]); ok && err == nil {
			c.detail = "id=" + made.Msg.GetId() + " " + c.detail
		}
		if made, ok := response.(*connect.Response[adminv1.IssuePluginCertificateResponse]); ok && err == nil {
			c.target = made.Msg.GetId()
		}
		i.server.audit(ctx, c, err)
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor. The handler of a stream gets its request later and asks by itself; there is one.
func (i roles) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if conn.Spec().Procedure != adminv1connect.AdminServiceExecuteProcedure {
			if err := i.server.allow(ctx, &change{action: conn.Spec().Procedure, may: caller(ctx).Role == identity.RoleOperator, right: operatorOnly}); err != nil {
				return err
			}
		}
		return next(ctx, conn)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (roles) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// allow refuses what the caller may not do; what only reads is let through.
func (s *Server) allow(ctx context.Context, c *change) error {
	if caller(ctx).Role == "" {
		return connect.NewError(connect.CodeUnauthenticated, errWrongToken)
	}
	if c == nil || c.may {
		return nil
	}
	p := caller(ctx)
	err := connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s: %s has the role %s", c.right, p.Name, p.Role))
	s.audit(ctx, c, err)
	return err
}

const (
	auditTimeout = 5 * time.Second
	auditLimit   = 1000
)

// audit notes a change in the log and in the trail. A trail that cannot be written does not undo what was done: the log has it.
func (s *Server) audit(ctx context.Context, c *change, err error) {
	if c == nil {
		return
	}
	p, outcome := caller(ctx), "ok"
	if err != nil {
		outcome = err.Error()
	}
	s.o.Log.Info("audit", "actor", p.Name, "role", string(p.Role), "remote", p.remote, "action", c.action, "target", c.target, "detail", c.detail, "outcome", outcome)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	failed := s.o.Trail.PutAudit(ctx, store.Audit{Actor: short(p.Name, 255), Role: string(p.Role), Remote: short(p.remote, 64), Bridge: short(s.o.Bridge, 190),
		Action: short(c.action, 64), Target: short(c.target, 512), Detail: short(c.detail, 2048), Outcome: short(outcome, 1024)})
	if failed != nil {
		s.o.Log.Warn("the audit trail could not be written; this entry is in the log alone", "action", c.action, "error", failed)
	}
}

// short cuts a text to so many characters.
func short(s string, limit int) string {
	runes := []rune(strings.ToValidUTF8(s, "\uFFFD"))
	if len(runes) <= limit {
		return string(runes)
	}
	return string(runes[:limit-1]) + "…"
}

// ListAudit implements the service.
func (s *Server) ListAudit(ctx context.Context, r *connect.Request[adminv1.ListAuditRequest]) (*connect.Response[adminv1.ListAuditResponse], error) {
	limit := int(r.Msg.GetLimit())
	if limit == 0 {
		limit = 100
	}
	list, err := s.o.Trail.Audits(ctx, r.Msg.GetBefore(), min(limit, auditLimit))
	if err != nil {
		return nil, unavailable(err)
	}
	response := &adminv1.ListAuditResponse{}
	for _, a := range list {
		response.Entries = append(response.Entries, &adminv1.AuditEntry{Id: a.ID, At: timestamppb.New(time.UnixMilli(a.At)), Actor: a.Actor, Role: a.Role,
			RemoteAddress: a.Remote, Bridge: a.Bridge, Action: a.Action, Target: a.Target, Detail: a.Detail, Outcome: a.Outcome})
	}
	return connect.NewResponse(response), nil
}

// RotateKey implements the service.
func (s *Server) RotateKey(ctx context.Context, _ *connect.Request[adminv1.RotateKeyRequest]) (*connect.Response[adminv1.RotateKeyResponse], error) {
	id, sealed, err := s.o.Rotate(ctx)
	switch {
	case errors.Is(err, identity.ErrNotYet):
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.Is(err, identity.ErrWrongKey):
		return nil, connect.NewError(connect.CodeDataLoss, err)
	case err != nil:
		return nil, unavailable(err)
	}
	s.o.Log.Info("everything is sealed with the newest key", "key", id, "sealed", strconv.Itoa(sealed))
	return connect.NewResponse(&adminv1.RotateKeyResponse{KeyId: id, Sealed: uint32(sealed)}), nil //nolint:gosec // a count
}
