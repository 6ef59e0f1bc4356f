package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/integration/story"
	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

// TestAClouddriverCallsItsBridgeOverANetwork has the oldest Clouddriver call a bridge that is not in its pod: https, with certificates on both sides. The main
// job passes, certificates are swapped and revoked while it runs, and what is refused is said.
func TestAClouddriverCallsItsBridgeOverANetwork(t *testing.T) {
	r := &remote{t: t, files: t.TempDir(), cli: filepath.Join(t.TempDir(), "fairlead"), address: net.JoinHostPort(ownAddress(t), strconv.Itoa(testenv.FreePort(t)))}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", r.cli, "github.com/fairlead/fairlead/bridge/cmd/fairlead").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	certified := make(chan error, 1)
	env := testenv.UpForTest(t, testenv.Options{
		Clouddriver: testenv.Versions()[0],
		ConfigureBridge: func(config map[string]any) {
			host, _, _ := net.SplitHostPort(r.address)
			p := section(config, "plugin")
			delete(p, "secretFile")
			p["address"], p["mutualTLS"], p["tls"] = r.address, true, map[string]any{"names": []any{host}}
			r.admin, r.tokenFile = section(config, "admin")["address"].(string), section(config, "admin")["tokenFile"].(string)
		},
		Configure: func(config map[string]any) {
			plugin := section(config, "spinnaker", "extensibility", "plugins", "Fairlead.Bridge", "config")
			delete(plugin, "secretFile")
			plugin["bridge"] = "https://" + r.address
			for name, file := range map[string]string{"certificateFile": "tls.crt", "keyFile": "tls.key", "caFile": "ca.crt"} {
				plugin[name] = filepath.Join(r.files, file)
			}
			section(config, "management", "endpoint", "health")["show-details"] = "always"
			// The files come when the bridge is ready: the plugin has to wait for them.
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				certified <- testenv.Wait(ctx, r.certify)
			}()
		},
	})
	must(t, <-certified)
	r.env = env
	kube, err := env.Kube(0)
	must(t, err)
	s := &story.Story{REST: env.REST(), Kube: kube, Account: env.Clusters[0].Account, App: "remote", Namespace: "shop-remote"}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	must(t, s.MakeNamespace(ctx))
	_, err = s.Deploy(ctx, s.Manifests(2, "one")...)
	must(t, err)
	_, _, err = s.AwaitViews(ctx, story.Running(2))
	must(t, err)
	must(t, s.ScaleBehind(ctx, 3))
	_, _, err = s.AwaitViews(ctx, story.Running(3))
	must(t, err)

	good := r.saved()
	t.Run("a certificate of another CA is refused, the right one taken again", func(t *testing.T) {
		stranger, key := newAuthority(t, "Stranger CA"), ecKey(t)
		r.save(map[string][]byte{"tls.crt": stranger.sign(key, leaf{uri: "fairlead://plugin/000000000000"}), "tls.key": keyText(t, key)})
		r.refuses(ctx, s, "is of another CA (CN=Stranger CA) than the bridges'")
		r.save(good)
		r.works(ctx, s)
	})
	t.Run("a CA that is not the bridges' is not trusted", func(t *testing.T) {
		r.save(map[string][]byte{"ca.crt": newAuthority(t, "Stranger CA").pem()})
		r.refuses(ctx, s, "do not agree on TLS")
		r.save(good)
		r.works(ctx, s)
	})
	t.Run("a revoked certificate ends what it opened, and another one needs no restart", func(t *testing.T) {
		admin, err := env.Bridges[0].AdminClient()
		must(t, err)
		tokens, err := admin.ListTokens(ctx, connect.NewRequest(&adminv1.ListTokensRequest{}))
		must(t, err)
		for _, token := range tokens.Msg.GetTokens() {
			if token.GetRole() == "plugin" {
				_, err := admin.RevokeToken(ctx, connect.NewRequest(&adminv1.RevokeTokenRequest{Id: token.GetId()}))
				must(t, err)
			}
		}
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return r.health(ctx, "was revoked") }))
		r.refuses(ctx, s, "was revoked")
		must(t, r.certify(ctx))
		r.works(ctx, s)
		must(t, testenv.Wait(ctx, func(ctx context.Context) error { return r.health(ctx, "connected") }))
	})
}

// remote is the environment of the test.
type remote struct {
	t                         *testing.T
	env                       *testenv.Env
	address, admin, tokenFile string
	files, cli                string
}

// ownAddress is an address of this machine that is not a loopback one; where there is none, loopback, which plugin.mutualTLS treats alike.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			return ip.IP.String()
		}
	}
	t.Log("this machine has no address but loopback")
	return "127.0.0.2"
}

// certify runs the one command.
func (r *remote) certify(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, r.cli, "--bridge", "http://"+r.admin, "--token-file", r.tokenFile, "plugin", "certificate", "--dir", r.files).CombinedOutput() //nolint:gosec // the project's own program
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (r *remote) saved() map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		content, err := os.ReadFile(filepath.Join(r.files, name))
		must(r.t, err)
		files[name] = content
	}
	return files
}

func (r *remote) save(files map[string][]byte) {
	for name, content := range files {
		must(r.t, os.WriteFile(filepath.Join(r.files, name), content, 0o600))
	}
}

// read is a live read through bridge and agent.
func (r *remote) read(ctx context.Context, s *story.Story) error {
	return s.REST.Get(ctx, "/manifests/"+s.Account+"/"+s.Namespace+"/deployment%20"+s.App+"-web", nil)
}

func (r *remote) works(ctx context.Context, s *story.Story) {
	r.t.Helper()
	must(r.t, testenv.Wait(ctx, func(ctx context.Context) error { return r.read(ctx, s) }))
}

// refuses waits until Clouddriver's log has told why a command failed.
func (r *remote) refuses(ctx context.Context, s *story.Story, why string) {
	r.t.Helper()
	info, err := os.Stat(r.env.Clouddriver.Log)
	must(r.t, err)
	must(r.t, testenv.Wait(ctx, func(ctx context.Context) error {
		if r.read(ctx, s) == nil {
			return errors.New("a command went well")
		}
		log, err := os.ReadFile(r.env.Clouddriver.Log)
		if err == nil && !strings.Contains(string(log[info.Size():]), why) {
			err = fmt.Errorf("the log does not say %q", why)
		}
		return err
	}))
}

// health tells whether Clouddriver's says so of its bridge.
func (r *remote) health(ctx context.Context, want string) error {
	var health struct {
		Components map[string]struct{ Details struct{ Bridge string } }
	}
	if err := r.env.REST().Get(ctx, "/health", &health); err != nil {
		return err
	}
	if said := health.Components["fairlead"].Details.Bridge; !strings.Contains(said, want) {
		return fmt.Errorf("bridge: %q, want %q", said, want)
	}
	return nil
}
