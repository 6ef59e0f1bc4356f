package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/agent/internal/cloud"
	"github.com/fairlead/fairlead/agent/internal/cluster"
	"github.com/fairlead/fairlead/agent/internal/config"
	"github.com/fairlead/fairlead/agent/internal/credentials"
	"github.com/fairlead/fairlead/agent/internal/execute"
	"github.com/fairlead/fairlead/agent/internal/secrets"
	"github.com/fairlead/fairlead/agent/internal/session"
	"github.com/fairlead/fairlead/proto/cats"
	linkv1 "github.com/fairlead/fairlead/proto/gen/fairlead/link/v1"
)

// fleet is the accounts that the agent serves. It follows the configuration, and for each account its credentials, and tells the session.
//
// An account is served from the first time that its credentials could be read. What changes in it afterwards touches it alone, and no more of
// it than needed: what it declares is declared anew; other credentials for the same API server take over from request to request; anything
// else starts its watches again. What is wrong with a change leaves the account as it was.
type fleet struct {
	log     *slog.Logger
	tell    func(served []session.Account, removed []string) error
	version string
	shared  *cluster.Shared
	reads   *prometheus.CounterVec
	schemas *execute.Schemas
	clouds  *cloud.Cloud
	// changed: the session is to be told.
	changed chan struct{}
	// watchers follow credentials, one for each account.
	watchers sync.WaitGroup

	mu       sync.Mutex
	settings settings
	// reader reads secrets from where vault says; stopReader ends what keeps its tokens alive.
	reader     *secrets.Reader
	vault      *secrets.Vault
	stopReader context.CancelFunc
	members    map[string]*member
	// refused are accounts that the configuration names and that cannot be served as it says.
	refused map[string]string
	// configured is what the files say; assigned are the accounts that bridges gave to the agent, wanted the latest revisions of them, be they
	// served yet or not.
	configured *config.Config
	assigned   map[string]config.Account
	wanted     map[string]uint64
	// applying: one change at a time.
	applying sync.Mutex
	// probing bounds how many API servers of assigned accounts are asked at a time; refuseAssigned tells the bridge why one is not served.
	probing        chan struct{}
	refuseAssigned func(*linkv1.Assigned)
	// removed were taken out of the configuration, and the session was not told yet.
	removed []string
	// following is what credentials are followed until; nil before and after run.
	following context.Context //nolint:containedctx // run's own
}

// member is one account.
type member struct {
	account config.Account
	keeper  *credentials.Keeper
	// stop ends the following of its credentials.
	stop context.CancelFunc
	// served is nil until credentials could be read; cluster is its cluster.
	served  *session.Account
	cluster *cluster.Cluster
	// stale: the cluster is not as the account says now, because its new credentials could not be read yet.
	stale bool
	// problem of the present credentials that only using them showed.
	problem string
	// told is what the bridge's configuration says about the account; nil: nothing yet. level is what it says about its log.
	told  *linkv1.AccountSettings
	level *ownLevel
	log   *slog.Logger
}

// settings are what all accounts share.
type settings struct {
	noProxy     bool
	timeout     time.Duration
	serverSide  config.ServerSideApply
	execPlugins []string
	refresh     time.Duration
}

func settingsOf(cfg *config.Config) settings {
	return settings{noProxy: cfg.Kubernetes.NoProxy, timeout: cfg.Timeout, serverSide: cfg.Kubernetes.ServerSideApply,
		execPlugins: cfg.Kubernetes.ExecPlugins, refresh: cfg.Secrets.Refresh}
}

// apply takes another configuration. Credentials that are at hand (files, the pod's own) are read at once.
func (f *fleet) apply(ctx context.Context, cfg *config.Config) {
	f.applying.Lock()
	defer f.applying.Unlock()
	f.mu.Lock()
	f.configured = cfg
	others := settingsOf(cfg)
	same := reflect.DeepEqual(f.settings, others)
	f.settings = others
	moved := f.readFrom(cfg.Secrets.Vault)
	next := make(map[string]*member, len(cfg.Accounts)+len(f.assigned))
	var fresh []*member
	for _, account := range f.accounts(cfg) {
		m := f.members[account.Name]
		switch {
		case m == nil:
			m = f.join(account)
			fresh = append(fresh, m)
		case !same || !sameSource(m.account, account) || moved && account.KubeconfigSecret != nil:
			m.stopFollowing()
			was := m
			m = f.join(account)
			m.served, m.cluster, m.stale, m.told = was.served, was.cluster, was.cluster != nil, was.told
			m.level.set(m.told.GetLogLevel())
			fresh = append(fresh, m)
		case !sameWatch(m.account, account):
			m.account = account
			if access, _ := m.keeper.Current(); access != nil {
				f.rebuild(m, access)
			}
		default:
			m.account = account
		}
		if m.served != nil {
			m.declare()
		}
		next[account.Name] = m
	}
	f.refuse(cfg, next)
	for name, m := range f.members {
		if next[name] == nil {
			m.stopFollowing()
			if m.account.Revision != 0 {
				continue // whether it leaves Clouddriver is the bridge's to say
			}
			f.removed = append(f.removed, name)
			f.log.Info("account removed from the configuration", "account", name)
		}
	}
	f.members = next
	f.mu.Unlock()
	for _, m := range fresh {
		if m.account.KubeconfigSecret == nil {
			if access, other := m.keeper.Look(ctx); other {
				f.renew(m, access)
			}
		}
		f.follow(m)
	}
	f.poke()
}

// readFrom has secrets read from there; true: that is another place than before. The lock is held.
func (f *fleet) readFrom(vault *secrets.Vault) bool {
	if f.reader != nil && reflect.DeepEqual(f.vault, vault) {
		return false
	}
	reader, err := secrets.New(secrets.Options{Vault: vault, Cloud: f.clouds})
	if err != nil {
		// The configuration was checked in the same way: a file that it names has changed since.
		f.log.Error("secrets are read as before", "error", err.Error())
		return false
	}
	f.reader, f.vault = reader, vault
	f.keepReader()
	return true
}

// keepReader keeps the tokens of the present reader alive, once run has begun. The lock is held.
func (f *fleet) keepReader() {
	if f.stopReader != nil {
		f.stopReader()
	}
	if f.following == nil || f.reader == nil {
		return
	}
	var ctx context.Context
	ctx, f.stopReader = context.WithCancel(f.following)
	reader := f.reader
	f.watchers.Go(func() { reader.Run(ctx) })
}

// refuse notes what cannot be served. What was served before stays as it is. The lock is held.
func (f *fleet) refuse(cfg *config.Config, next map[string]*member) {
	before := f.refused
	f.refused = map[string]string{}
	for _, r := range cfg.Refused {
		problem := r.Err.Error()
		f.refused[r.Name] = problem
		m := f.members[r.Name]
		if m != nil && next[r.Name] == nil {
			next[r.Name] = m
		}
		if before[r.Name] != problem {
			f.log.Error("account refused", "account", r.Name, "error", problem, "served_as_before", m != nil)
		}
	}
}

// join makes a member. The lock is held.
func (f *fleet) join(account config.Account) *member {
	spec := credentials.Spec{InCluster: account.ServiceAccount, File: account.KubeconfigFile, Secret: account.KubeconfigSecret, Inline: account.Kubeconfig, Context: account.Context}
	level := &ownLevel{}
	log := level.of(f.log)
	return &member{account: account, level: level, log: log, keeper: credentials.New(account.Name, spec, credentials.Options{
		Policy: credentials.Policy{ExecPlugins: f.settings.execPlugins, Cloud: f.clouds}, Secrets: f.reader, Refresh: f.settings.refresh, Reads: f.reads, Log: log,
	})}
}

// configure takes what the bridge says about serving an account.
func (f *fleet) configure(account string, told *linkv1.AccountSettings) {
	f.mu.Lock()
	m := f.members[account]
	if m == nil || proto.Equal(m.told, told) {
		f.mu.Unlock()
		return
	}
	news := m.told != nil || !proto.Equal(told, &linkv1.AccountSettings{})
	m.told = told
	m.level.set(told.GetLogLevel())
	if m.cluster != nil {
		m.cluster.Limit(told)
	}
	f.mu.Unlock()
	if news {
		f.log.Info("the bridge's configuration gives the account other settings", "account", account, "settings", told.String())
	}
}

func (m *member) stopFollowing() {
	if m.stop != nil {
		m.stop()
	}
}

// sameSource tells whether two states of an account get their credentials in the same way.
func sameSource(a, b config.Account) bool {
	source := func(a config.Account) config.Account {
		return config.Account{ServiceAccount: a.ServiceAccount, KubeconfigFile: a.KubeconfigFile, KubeconfigSecret: a.KubeconfigSecret, Kubeconfig: a.Kubeconfig, Context: a.Context,
			Insecure: a.Insecure, NoProxy: a.NoProxy}
	}
	return reflect.DeepEqual(source(a), source(b))
}

// sameWatch tells whether two states of an account watch the same, and show it in the same way.
func sameWatch(a, b config.Account) bool {
	watch := func(a config.Account) config.Account {
		return config.Account{Namespaces: a.Namespaces, OmitNamespaces: a.OmitNamespaces, Kinds: a.Kinds, OmitKinds: a.OmitKinds, OnlyNamespaced: a.OnlyNamespaced,
			OnlySpinnakerManaged: a.OnlySpinnakerManaged, CustomKinds: a.CustomKinds, CacheAllApplicationRelationships: a.CacheAllApplicationRelationships,
			CachingPolicies: a.CachingPolicies}
	}
	return reflect.DeepEqual(watch(a), watch(b))
}

// follow keeps a member's credentials up to date, once run has begun.
func (f *fleet) follow(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.following == nil || m.stop != nil || f.members[m.account.Name] != m {
		return
	}
	var ctx context.Context
	ctx, m.stop = context.WithCancel(f.following)
	f.watchers.Go(func() { m.keeper.Run(ctx, func(access *credentials.Access) { f.renew(m, access) }) })
}

// renew gives a member other credentials.
func (f *fleet) renew(m *member, access *credentials.Access) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.members[m.account.Name] != m {
		return
	}
	if m.cluster != nil && !m.stale {
		err := m.cluster.Renew(access)
		if err == nil {
			m.problem = ""
			m.declare()
			f.poke()
			return
		}
		if !errors.Is(err, cluster.ErrOtherServer) {
			f.complain(m, err)
			return
		}
		f.log.Warn("account's credentials are for another API server: its objects are listed anew", "account", m.account.Name, "error", err.Error())
	}
	f.rebuild(m, access)
	f.poke()
}

// rebuild gives a member another cluster, which starts anew. The lock is held.
func (f *fleet) rebuild(m *member, access *credentials.Access) {
	a := m.account
	c, err := cluster.New(a, cluster.Options{Log: m.log, Access: access, Refused: m.keeper.Poke, Shared: f.shared, NoProxy: f.settings.noProxy,
		RequestTimeout: f.settings.timeout, UserAgent: "fairlead-agent/" + f.version})
	if err != nil {
		f.complain(m, err)
		return
	}
	c.Limit(m.told)
	m.cluster, m.stale, m.problem = c, false, ""
	m.served = &session.Account{
		Records:   cats.NewInventory(a.Name, cats.Options{OnlySpinnakerManaged: a.OnlySpinnakerManaged, AllApplicationRelationships: a.CacheAllApplicationRelationships}),
		Cluster:   c,
		Executor:  execute.New(c, execute.Options{Log: m.log, Schemas: f.schemas, ServerSide: f.settings.serverSide}),
		Log:       m.log,
		Configure: func(told *linkv1.AccountSettings) { f.configure(a.Name, told) },
	}
	m.declare()
}

// declare has the session declare the account as it is now.
func (m *member) declare() {
	next := *m.served
	next.Declared = m.account.Link()
	next.Declared.Cluster = m.cluster.Identity()
	m.served = &next
}

// complain notes that credentials cannot be used. The lock is held.
func (f *fleet) complain(m *member, err error) {
	m.problem = err.Error()
	f.log.Error("account's credentials cannot be used", "account", m.account.Name, "error", m.problem, "served_as_before", m.served != nil)
}

func (f *fleet) poke() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// gather is how long changes are collected before the session is told: two thousand accounts that read their credentials at one moment are
// declared a few times, not two thousand times.
const gather = 100 * time.Millisecond

// run follows credentials and tells the session what is served, until ctx ends.
func (f *fleet) run(ctx context.Context) error {
	f.mu.Lock()
	f.following = ctx
	f.keepReader()
	members := slices.Collect(maps.Values(f.members))
	f.mu.Unlock()
	for _, m := range members {
		f.follow(m)
	}
	defer func() {
		f.mu.Lock()
		f.following = nil
		if f.stopReader != nil {
			f.stopReader()
		}
		f.mu.Unlock()
		f.watchers.Wait()
	}()
	var told []session.Account
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gather):
		}
		served, removed := f.present()
		if len(removed) == 0 && sameServed(told, served) {
			continue
		}
		if err := f.tell(served, removed); err != nil {
			return err
		}
		told = served
	}
}

// sameServed tells whether the session would see no difference: a configuration is read again as long as something in it is refused.
func sameServed(a, b []session.Account) bool {
	return slices.EqualFunc(a, b, func(x, y session.Account) bool {
		return x.Records == y.Records && x.Executor == y.Executor && proto.Equal(x.Declared, y.Declared)
	})
}

// present returns what the session is to serve, and what left since it was asked last.
func (f *fleet) present() ([]session.Account, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	removed := f.removed
	f.removed = nil
	return f.serving(), removed
}

// serving lists what is served, in the order of names. The lock is held.
func (f *fleet) serving() []session.Account {
	var list []session.Account
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		if m := f.members[name]; m.served != nil {
			list = append(list, *m.served)
		}
	}
	return list
}
