package identity

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"
	_ "github.com/go-sql-driver/mysql" // the driver
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	adminv1 "github.com/fairlead/fairlead/proto/gen/fairlead/admin/v1"
	"github.com/fairlead/fairlead/testenv"
)

// crop is what was planted: name to secret.
type crop map[string]string

// planted puts a secret in every place that may hold one, has everything happen with it that does, and looks for it wherever people and programs may
// look: logs, errors, metrics, tables, answers and arguments.
func planted(p *place) {
	secrets := crop{"database password": "planted-database-password", "wrong database password": "planted-wrong-password", "password of a given key": keyPassword,
		"proxy bearer": "planted-proxy-bearer", "data of a Secret": "planted-secret-data", "data of a Secret that is applied": "planted-applied-data", "patch": "planted-patched-data"}
	dir := p.t.TempDir()
	database := p.plantDatabase(secrets["database password"])
	withPassword := func(password string) func(map[string]any) {
		file := write(p.t, p.t.TempDir(), "password", []byte(password+"\n"))
		return func(config map[string]any) {
			section(config, "database")["dsn"], section(config, "database")["passwordFile"] = database, file
			config["log"] = map[string]any{"level": "debug"}
		}
	}
	b := p.another(withPassword(secrets["database password"]))
	var looked []*running
	looked = append(looked, b.running, p.refusedBridge(withPassword(secrets["wrong database password"])))

	id, token := p.token(0, "planted-*")
	secrets["enrolment token"] = token
	person, err := b.admin.CreateToken(p.t.Context(), connect.NewRequest(&adminv1.CreateTokenRequest{Role: "operator", Description: "planted"}))
	must(p.t, err)
	secrets["person's token"] = person.Msg.GetToken()
	p.plantSecretObject(secrets["data of a Secret"])
	kept := filepath.Join(dir, "certificate.pem")
	a := p.agentOf(b.address, also(shows(p.t, token), func(config map[string]any) {
		auth := section(config, "clouddriver", "auth")
		auth["token"], auth["certificateFile"] = secrets["proxy bearer"], kept
		config["logging"] = map[string]any{"level": "debug"}
		section(config, "prometheus")["enabled"], section(config, "prometheus")["port"] = true, testenv.FreePort(p.t)
		section(config, "kubernetes")["accounts"].([]any)[0].(map[string]any)["kinds"] = []any{"deployment", "secret", "configMap"}
	}), "planted-a")
	a.says("msg=attached account=planted-a")
	looked = append(looked, a)
	// What is refused speaks of what it was shown.
	wrong := p.agentOf(b.address, shows(p.t, token+"x"), "planted-a")
	wrong.says("the bridge does not accept this agent")
	looked = append(looked, wrong)
	secrets["wrong enrolment token"] = token + "x"
	forms := forms(p.t)["encrypted PKCS #8"]
	team := newAuthority(p.t, "Team CA")
	crt, key := write(p.t, dir, "tls.crt", team.sign(forms.key, leaf{name: uid("abc")})), write(p.t, dir, "tls.key", forms.text)
	given := p.agentOf(b.address, func(config map[string]any) {
		tls := section(config, "clouddriver", "tls")
		tls["clientCertFile"], tls["clientKeyFile"], tls["clientKeyFilePassword"] = crt, key, keyPassword
	}, "planted-b")
	given.says("is of another CA")
	looked = append(looked, given)

	p.operate(b, "planted-a", secrets)
	_, err = b.admin.RevokeToken(p.t.Context(), connect.NewRequest(&adminv1.RevokeTokenRequest{Id: id}))
	must(p.t, err)
	a.says("was revoked")
	p.collect(secrets, kept)
	if len(secrets) < 15 {
		p.t.Fatalf("only %d secrets to look for", len(secrets))
	}
	found := p.look(secrets, b, looked)
	p.t.Logf("%d secrets planted, %d places looked into, found %d", len(secrets), found.places, found.hits)
}

// plantDatabase makes a user with a password, and returns a data source without it.
func (p *place) plantDatabase(password string) (dsn string) {
	p.t.Helper()
	db, err := sql.Open("mysql", p.env.MySQL.DSN)
	must(p.t, err)
	defer func() { _ = db.Close() }()
	for _, statement := range []string{"CREATE USER IF NOT EXISTS planted@'%' IDENTIFIED BY '" + password + "'", "GRANT ALL ON *.* TO planted@'%'"} {
		_, err := db.ExecContext(p.t.Context(), statement)
		must(p.t, err)
	}
	_, address, _ := strings.Cut(p.env.MySQL.DSN, "@")
	return "planted@" + address
}

// refusedBridge is one that the database does not let in.
func (p *place) refusedBridge(change func(map[string]any)) *running {
	p.t.Helper()
	dir := p.t.TempDir()
	config := read(p.t, filepath.Join(filepath.Dir(p.env.Bridges[0].AdminTokenFile), "fairlead-bridge.yml"))
	for _, part := range []string{"agents", "admin", "plugin", "peers", "metrics"} {
		section(config, part)["address"] = fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(p.t))
	}
	change(config)
	r := p.start(p.bridge, dir, "--config", write(p.t, dir, "fairlead-bridge.yml", marshal(p.t, config)))
	r.says("Access denied for user 'planted'")
	return r
}

// plantSecretObject puts a Secret into the cluster.
func (p *place) plantSecretObject(data string) {
	p.t.Helper()
	kube, err := p.env.Kube(0)
	must(p.t, err)
	_, err = kube.CoreV1().Secrets("default").Create(p.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "planted"}, StringData: map[string]string{"password": data}}, metav1.CreateOptions{})
	must(p.t, err)
}

// operate has operations handle secrets, some of which fail.
func (p *place) operate(b *another, account string, secrets crop) {
	p.t.Helper()
	applied := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"applied","namespace":"default"},"stringData":{"password":%q}}`, secrets["data of a Secret that is applied"])
	patch := fmt.Sprintf(`{"stringData":{"more":%q}}`, secrets["patch"])
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{applied, []string{"apply", "-o", "json", "-f", "-"}},
		{strings.Replace(applied, `"Secret"`, `"Nonsense"`, 1), []string{"apply", "-o", "json", "-f", "-"}},
		{strings.Replace(applied, `"default"`, `"not-there"`, 1), []string{"apply", "-o", "json", "-f", "-"}},
		{applied + "}", []string{"apply", "-o", "json", "-f", "-"}},
		{"", []string{"-n", "default", "patch", "secret", "applied", "--type", "merge", "--patch", patch}},
		{"", []string{"-n", "default", "patch", "secret", "not-there", "--type", "merge", "--patch", patch}},
	} {
		request := connect.NewRequest(&adminv1.ExecuteRequest{Account: account, Arguments: c.args, Stdin: []byte(c.stdin)})
		request.Header().Set("Authorization", "Bearer "+secrets["person's token"])
		stream, err := b.admin.Execute(p.t.Context(), request)
		must(p.t, err)
		for stream.Receive() {
			// What its own caller sees is the caller's.
		}
		must(p.t, stream.Err())
		_ = stream.Close()
	}
}

// collect adds the secrets that the programs made themselves.
func (p *place) collect(secrets crop, kept string) {
	p.t.Helper()
	for name, file := range map[string]string{"plugin secret": p.env.Bridges[0].PluginSecretFile, "admin token": p.env.Bridges[0].AdminTokenFile,
		"key file": filepath.Join(filepath.Dir(p.env.Bridges[0].AdminTokenFile), "key"), "token file of the environment": filepath.Join(filepath.Dir(p.env.Agents[0].Config), "token")} {
		content, err := os.ReadFile(file)
		must(p.t, err)
		secrets[name] = strings.TrimSpace(string(content))
	}
	content, err := os.ReadFile(kept)
	must(p.t, err)
	// A line of the key in the middle: in one line or many, it is the same there.
	secrets["key of the agent's certificate"] = strings.Split(string(content), "\n")[1]
	for _, file := range []string{p.env.Clusters[0].Kubeconfig, filepath.Join(filepath.Dir(p.env.Agents[0].Config), "kubeconfig")} {
		config, err := clientcmd.LoadFromFile(file)
		must(p.t, err)
		for user, a := range config.AuthInfos {
			for kind, secret := range map[string]string{"token": a.Token, "password": a.Password} {
				if secret != "" {
					secrets[filepath.Base(filepath.Dir(file))+" "+user+" "+kind] = secret
				}
			}
		}
	}
	secrets["a private key"] = "PRIVATE KEY-----"
}

// harvest counts.
type harvest struct {
	t            *testing.T
	secrets      map[string][][]byte
	places, hits int
}

func (h *harvest) in(where string, content []byte) {
	h.places++
	for name, forms := range h.secrets {
		for _, form := range forms {
			if at := bytes.Index(content, form); at >= 0 {
				h.hits++
				h.t.Errorf("%s holds the %s: …%q", where, name, content[max(0, at-80):min(len(content), at+len(form))])
			}
		}
	}
}

// look goes through all places.
func (p *place) look(secrets crop, b *another, programs []*running) *harvest {
	p.t.Helper()
	h := &harvest{t: p.t, secrets: map[string][][]byte{}}
	for name, secret := range secrets {
		h.secrets[name] = [][]byte{[]byte(secret), []byte(base64.StdEncoding.EncodeToString([]byte(secret)))}
	}
	for i, r := range programs {
		h.in(fmt.Sprintf("output %d", i), []byte(r.said()))
	}
	must(p.t, filepath.WalkDir(filepath.Join(p.env.Dir(), "logs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.Contains(path, "kube") && !strings.Contains(path, "mysql") {
			content, err := os.ReadFile(path)
			must(p.t, err)
			h.in(path, content)
		}
		return err
	}))
	p.answers(h, b)
	p.tables(h)
	p.processes(h)
	return h
}

// answers are what the admin API and the metrics say.
func (p *place) answers(h *harvest, b *another) {
	p.t.Helper()
	ctx := p.t.Context()
	add := func(name string, m proto.Message, err error) {
		must(p.t, err)
		text, err := protojson.Marshal(m)
		must(p.t, err)
		h.in(name, text)
	}
	status, err := b.admin.GetStatus(ctx, connect.NewRequest(&adminv1.GetStatusRequest{}))
	must(p.t, err)
	add("GetStatus", status.Msg, nil)
	accounts, err := b.admin.ListAccounts(ctx, connect.NewRequest(&adminv1.ListAccountsRequest{}))
	must(p.t, err)
	add("ListAccounts", accounts.Msg, nil)
	tokens, err := b.admin.ListTokens(ctx, connect.NewRequest(&adminv1.ListTokensRequest{}))
	must(p.t, err)
	add("ListTokens", tokens.Msg, nil)
	audit, err := b.admin.ListAudit(ctx, connect.NewRequest(&adminv1.ListAuditRequest{Limit: 1000}))
	must(p.t, err)
	add("ListAudit", audit.Msg, nil)
	config := read(p.t, filepath.Join(b.dir, "fairlead-bridge.yml"))
	for _, address := range []string{"http://" + section(config, "metrics")["address"].(string) + "/metrics", "http://" + section(config, "admin")["address"].(string) + "/healthz", p.env.Agents[0].Admin + "/healthz", p.env.Agents[0].Admin + "/"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		must(p.t, err)
		response, err := http.DefaultClient.Do(request)
		must(p.t, err)
		content, err := io.ReadAll(response.Body)
		must(p.t, err)
		_ = response.Body.Close()
		h.in(address, content)
	}
}

// tables looks into every column that can hold a text.
func (p *place) tables(h *harvest) {
	p.t.Helper()
	ctx := context.WithoutCancel(p.t.Context())
	db, err := sql.Open("mysql", p.env.MySQL.DSN)
	must(p.t, err)
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(ctx, `SELECT table_name, GROUP_CONCAT(CONCAT('COALESCE(CONVERT(', column_name, ' USING latin1), '''')')) FROM information_schema.columns
 WHERE table_schema = DATABASE() AND data_type IN ('varchar','char','text','longtext','mediumtext','json','blob','longblob','mediumblob','varbinary','binary') GROUP BY table_name`)
	must(p.t, err)
	defer func() { _ = rows.Close() }()
	all := map[string]string{}
	for rows.Next() {
		var table, columns string
		must(p.t, rows.Scan(&table, &columns))
		all[table] = columns
	}
	must(p.t, rows.Err())
	for table, columns := range all {
		p.table(ctx, h, db, table, columns)
	}
	if len(all) < 10 {
		p.t.Errorf("only %d tables", len(all))
	}
}

func (p *place) table(ctx context.Context, h *harvest, db *sql.DB, table, columns string) {
	p.t.Helper()
	content, err := db.QueryContext(ctx, "SELECT CONCAT_WS('|', "+columns+") FROM `"+table+"`") //nolint:gosec // names of the database's own
	must(p.t, err)
	defer func() { _ = content.Close() }()
	for content.Next() {
		var row []byte
		must(p.t, content.Scan(&row))
		h.in("table "+table, row)
	}
	must(p.t, content.Err())
}

// processes looks at the arguments of all processes of the machine; the test's own tools pass none on.
func (p *place) processes(h *harvest) {
	p.t.Helper()
	entries, err := os.ReadDir("/proc")
	must(p.t, err)
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if content, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil { // it may be gone
			h.in("arguments of process "+e.Name(), content)
		}
	}
}
