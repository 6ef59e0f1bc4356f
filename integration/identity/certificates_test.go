package identity

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func givenClientCertificates(p *place) {
	team, stranger := newAuthority(p.t, "Team CA"), newAuthority(p.t, "Stranger CA")
	dir := p.t.TempDir()
	b := p.another(func(config map[string]any) {
		tls := section(config, "agents", "tls")
		tls["clientCaFile"], tls["clientCrlFile"] = write(p.t, dir, "clients.crt", team.pem()), write(p.t, dir, "clients.crl", team.revokes())
		section(config, "agents")["certificates"] = []any{
			map[string]any{"accounts": []any{"uid-*"}, "subject": []any{"UID=([a-z]){3}:[1-9]{3}:ksvc"}, "issuer": []any{"^CN=Team CA$"}},
			map[string]any{"accounts": []any{"spiffe-*"}, "uri": []any{"spiffe://prod.example/ns/*/sa/agent"}},
		}
	})
	shown := func(certificate, key []byte, more map[string]any) func(map[string]any) {
		dir := p.t.TempDir()
		return func(config map[string]any) {
			tls := section(config, "clouddriver", "tls")
			tls["clientCertFile"], tls["clientKeyFile"] = write(p.t, dir, "tls.crt", certificate), write(p.t, dir, "tls.key", key)
			for name, value := range more {
				tls[name] = value
			}
		}
	}
	n := 0
	for form, f := range forms(p.t) {
		account := fmt.Sprintf("uid-%d", n)
		n++
		more := map[string]any{}
		if form == "encrypted PKCS #8" {
			more["clientKeyFilePassword"] = keyPassword
		}
		a := p.agentOf(b.address, shown(team.sign(f.key, leaf{name: uid("abc:123:ksvc")}), f.text, more), account)
		a.says("msg=attached account=" + account)
		a.stop()
	}
	key := ecKey(p.t)
	text := keyText(p.t, key)
	spiffe := team.sign(key, leaf{uri: "spiffe://prod.example/ns/team/sa/agent"})
	a := p.agentOf(b.address, shown(spiffe, text, nil), "spiffe-a", "uid-a")
	a.says("msg=attached account=spiffe-a", "account refused by the bridge", "uid-a")
	for _, c := range []struct {
		certificate []byte
		says        string
	}{
		{stranger.sign(key, leaf{name: uid("abc:123:ksvc")}), "is of a CA (CN=Stranger CA) that is neither the bridges' nor in agents.tls.clientCaFile"},
		{team.sign(key, leaf{name: uid("nobody")}), "no rule of agents.certificates is about the client certificate"},
		{team.sign(key, leaf{name: uid("abc:123:ksvc"), server: true}), "is not for clients"},
		{team.sign(key, leaf{name: uid("abc:123:ksvc"), from: time.Now().Add(time.Hour)}), "is good from"},
		{team.sign(key, leaf{name: uid("abc:123:ksvc"), from: time.Now().Add(-3 * time.Hour)}), "has expired at"},
	} {
		a := p.agentOf(b.address, shown(c.certificate, text, nil), "uid-z")
		a.says("the bridge does not accept this agent", c.says)
		a.stop()
	}
	// A revocation ends the session within seconds, and opens none.
	from := len(a.said())
	write(p.t, dir, "clients.crl", team.revokes(spiffe))
	a.after(from, "its CA (CN=Team CA) revoked serial number")
	b.says("session ends: its identity is no longer valid")
	// A bridge without rules for them says so.
	a = p.agentOf(p.env.Bridges[0].Agents, shown(stranger.sign(key, leaf{name: uid("abc:123:ksvc")}), text, nil), "uid-z")
	a.says("is of another CA (CN=Stranger CA) than the bridges'", "agents.tls.clientCaFile")
}

func givenServerCertificate(p *place) {
	first, second := newAuthority(p.t, "First CA"), newAuthority(p.t, "Second CA")
	dir := p.t.TempDir()
	// As a kubelet mounts a Secret: files are links into a directory that ..data points to, and a new ..data is swapped in.
	mount := func(name string, a *authority) {
		key := ecKey(p.t)
		must(p.t, os.Mkdir(filepath.Join(dir, name), 0o700))
		write(p.t, filepath.Join(dir, name), "tls.key", keyText(p.t, key))
		write(p.t, filepath.Join(dir, name), "tls.crt", a.sign(key, leaf{server: true}))
		write(p.t, filepath.Join(dir, name), "ca.crt", a.pem())
		must(p.t, os.Symlink(name, filepath.Join(dir, "..next")))
		must(p.t, os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
	}
	mount("..first", first)
	for _, file := range []string{"tls.key", "tls.crt", "ca.crt"} {
		must(p.t, os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)))
	}
	b := p.another(func(config map[string]any) {
		tls := section(config, "agents", "tls")
		tls["certFile"], tls["keyFile"], tls["caFile"] = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")
	})
	pinned := func(a *authority) func(map[string]any) {
		return func(config map[string]any) { section(config, "clouddriver", "tls")["pin"] = a.pin() }
	}
	_, token := p.token(0, "given-*")
	a := p.agentOf(b.address, also(shows(p.t, token), pinned(first)), "given-a")
	a.says(connected)
	a.stop()
	mount("..second", second)
	late := p.agentOf(b.address, also(shows(p.t, token), pinned(second)), "given-a")
	late.says(connected)
	late.stop()
	old := p.agentOf(b.address, also(shows(p.t, token), pinned(first)), "given-a")
	old.says("not the pinned one", second.pin(), first.pin(), "fairlead status")
}
