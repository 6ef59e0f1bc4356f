package identity

import (
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
)

func TestIdentityOnRealParts(t *testing.T) {
	p := newPlace(t)
	for _, test := range []struct {
		name string
		run  func(p *place)
	}{
		{"an agent exchanges its token for a certificate, and revocation at another bridge ends its session", revokedElsewhere},
		{"of two accounts the one that is not the agent's is refused and the other works", oneOfTwo},
		{"an agent whose token has expired is told so", expiredToken},
		{"a token for one agent is for that one, across its restarts, and for agents that keep their certificate alone", usedUp},
		{"an agent comes back when its token was revoked and replaced", replacedToken},
		{"given certificates have the accounts that the rules say", givenClientCertificates},
		{"a bridge takes its given certificate anew when the files are swapped", givenServerCertificate},
		{"service-account tokens of a real API server have the accounts that the rules say", serviceAccounts},
		{"behind a proxy that ends TLS both sides prove themselves inside the stream", behindAProxy},
		{"the commands that join prints bring an agent", joins},
		{"a newer key seals everything after a rotation", rotation},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(p.on(t)) })
	}
	t.Run("no secret shows anywhere", func(t *testing.T) { planted(p.on(t)) })
}

func revokedElsewhere(p *place) {
	second := p.another(nil)
	id, token := p.token(0, "revoked-*")
	a := p.agentOf(second.address, shows(p.t, token), "revoked-a")
	a.says("enrolled", connected, "account=revoked-a")
	second.says("agent enrolled", "certificate of token "+id)
	from := len(a.said())
	_, err := p.admin.RevokeToken(p.t.Context(), connect.NewRequest(&adminv1.RevokeTokenRequest{Id: id}))
	must(p.t, err)
	a.after(from, "the enrolment token "+id+" was revoked", "fairlead token create")
	second.says("session ends: its identity is no longer valid")
}

func oneOfTwo(p *place) {
	_, token := p.token(0, "mine-*")
	a := p.agentOf(p.env.Bridges[0].Agents, shows(p.t, token), "mine-a", "theirs")
	a.says("account refused by the bridge", "does not cover account", "theirs", "msg=attached account=mine-a")
}

func expiredToken(p *place) {
	made, err := p.admin.CreateToken(p.t.Context(), connect.NewRequest(&adminv1.CreateTokenRequest{Accounts: []string{"expired-*"}, TtlSeconds: 1}))
	must(p.t, err)
	a := p.agentOf(p.env.Bridges[0].Agents, shows(p.t, made.Msg.GetToken()), "expired-a")
	a.says("the enrolment token "+made.Msg.GetId()+" has expired: make another one with", "fairlead token create")
}

func usedUp(p *place) {
	id, token := p.token(1, "single-*")
	kept := filepath.Join(p.t.TempDir(), "certificate.pem")
	keeps := func(file string) func(map[string]any) {
		return func(config map[string]any) { section(config, "clouddriver", "auth")["certificateFile"] = file }
	}
	forgets := p.agentOf(p.env.Bridges[0].Agents, shows(p.t, token), "single-a")
	forgets.says("forgets its certificate when it stops", "certificateFile")
	forgets.stop()
	for range 2 {
		a := p.agentOf(p.env.Bridges[0].Agents, also(shows(p.t, token), keeps(kept)), "single-a")
		a.says(connected)
		a.stop()
	}
	// Nothing is left but the key, as after a long outage: the certificate has expired.
	a := p.agentOf(p.env.Bridges[0].Agents, also(shows(p.t, token), keeps(keyAlone(p.t, kept))), "single-a")
	a.says("enrolled", connected)
	a.stop()
	other := p.agentOf(p.env.Bridges[0].Agents, also(shows(p.t, token), keeps(filepath.Join(p.t.TempDir(), "other.pem"))), "single-a")
	other.says("the enrolment token "+id+" was used by 1 agents already", "fairlead token create")
}

func replacedToken(p *place) {
	id, token := p.token(0, "again-*")
	change := shows(p.t, token)
	a := p.agentOf(p.env.Bridges[0].Agents, change, "again-a")
	a.says(connected)
	from := len(a.said())
	_, err := p.admin.RevokeToken(p.t.Context(), connect.NewRequest(&adminv1.RevokeTokenRequest{Id: id}))
	must(p.t, err)
	a.after(from, "was revoked")
	config := map[string]any{}
	change(config)
	_, next := p.token(0, "again-*")
	file, _ := section(config, "clouddriver", "auth")["tokenFile"].(string)
	write(p.t, filepath.Dir(file), filepath.Base(file), []byte(next))
	from = len(a.said())
	a.after(from, "enrolled", connected)
}

func rotation(p *place) {
	status, err := p.admin.GetStatus(p.t.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
	must(p.t, err)
	before := status.Msg.GetSealingKey()
	key := filepath.Join(filepath.Dir(p.env.Bridges[0].AdminTokenFile), "key")
	out, err := p.run(p.bridge, "key", "add", key)
	must(p.t, err)
	if !strings.Contains(out, "fairlead key rotate") {
		p.t.Errorf("it said %s", out)
	}
	p.eventually(func() error {
		_, err := p.admin.RotateKey(p.t.Context(), connect.NewRequest(&adminv1.RotateKeyRequest{}))
		return err // a bridge that has not read the file yet
	})
	if _, err := p.run(p.bridge, "key", "drop", key); err == nil {
		p.t.Error("former keys were dropped without a word")
	}
	out, err = p.run(p.bridge, "key", "drop", "--yes", key)
	must(p.t, err)
	if !strings.Contains(out, before) {
		p.t.Errorf("dropped %s, want %s", out, before)
	}
	// A bridge that starts now has the new key alone.
	p.another(nil).says("bridge is ready")
}
