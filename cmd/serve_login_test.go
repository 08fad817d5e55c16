//go:build linux

package cmd_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/slapd"
)

const alicePassword = "alice's own password"

// reception is a server of tokens beside a directory, with alice in it, who is an
// editor.
func reception(t *testing.T) (*machine, *slapd.Server, *running) {
	t.Helper()
	d := slapd.Start(t, slapd.Options{LDIF: slapd.Group("editors", slapd.DN(slapd.Canary), slapd.DN("alice"))})
	d.Add("alice", alicePassword)
	m := newMachine(t)
	folder := filepath.Join(m.home, ".config", "tokenctl")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(folder, "config.yaml"), []byte(fmt.Sprintf(`directories:
  - name: corp
    kind: ldap
    url: %s
    bind_dn: %s
    bind_password_file: %s
    base_dn: %s
    canary: %s
    group_base_dn: ou=groups,%s
    roles: [{group: "cn=editors,ou=groups,%s", role: editor}]
`, d.URL, slapd.Service, d.PasswordFile, slapd.People, slapd.Canary, slapd.Suffix, slapd.Suffix)))
	m.must("", "admin", "policy", "set", "refresh_tokens", "everyone")
	return m, d, m.serve()
}

// here is a command of the file's owner, whatever context is the current one.
func (m *machine) here(args ...string) string {
	m.t.Helper()
	return m.must("", append(args, "--store", "bolt://"+m.db())...)
}

// Alice logs in with her password once; from then on a token stands in for it,
// also while the directory is away. Somebody else who gets her name later gets
// nothing of hers.
func TestServeDirectoryPeople(t *testing.T) {
	t.Parallel()
	m, d, s := reception(t)
	server := "http://" + s.main
	login := func(password string, args ...string) result {
		return m.run(password+"\n", append([]string{"login", "--server", server, "--user", "corp/alice", "-"}, args...)...)
	}
	m.ends(login("not her password"), 3)
	m.ends(login(alicePassword), 0, "logged in")
	if got := m.must("", "whoami", "--context", "127.0.0.1", "--jq", `.owner + " " + (.roles | join(","))`); got != "corp/alice editor" {
		t.Errorf("whoami: %s", got)
	}
	curl := func(credential string) int {
		status, header, _ := s.ask(http.MethodGet, "/verify/role/editor", credential)
		if status == http.StatusOK && header.Get("X-Auth-User") != "corp/alice" {
			t.Errorf("X-Auth-User: %s", header.Get("X-Auth-User"))
		}
		return status
	}
	m.ends(m.run("", "delete", "--context", "127.0.0.1"), 0)
	token := m.here("generate", "--owner", "corp/alice")
	refresh := m.here("generate", "refresh", "ci", "--owner", "corp/alice", "--role", "editor")
	if got := curl(token); got != http.StatusOK {
		t.Errorf("her token: %d", got)
	}
	// Whatever way her name is written, it is hers.
	m.ends(m.run("", "generate", "--owner", "corp/ALICE", "--store", "bolt://"+m.db()), 5)
	if got := m.here("list", "--owner", "corp/Alice", "--kind", "user", "--jq", "length"); got != "1" {
		t.Errorf("of corp/Alice are %s tokens", got)
	}
	m.ends(m.run(alicePassword, "login", "--server", server, "--user", "corp/ALICE", "--rotate", "-"), 0)
	token = m.here("rotate", strings.SplitN(token, ":", 2)[0])
	// /verify takes no password of hers, the interface does.
	if got := curl("corp/alice:" + alicePassword); got != http.StatusUnauthorized {
		t.Errorf("her password at /verify: %d", got)
	}
	if status, _, body := s.ask(http.MethodGet, "/api/v1/whoami", "corp/alice:"+alicePassword); status != http.StatusOK || !strings.Contains(body, `"corp/alice"`) {
		t.Errorf("her password at the interface: %d %s", status, body)
	}
	access := m.must(refresh, "exchange")

	d.Stop()
	if got := curl(token); got != http.StatusOK {
		t.Errorf("her token, while the directory is away: %d", got)
	}
	m.ends(login(alicePassword), 6)
	d.Restart()

	// Disabled here: at once, everywhere.
	m.here("admin", "user", "disable", "corp/alice")
	for what, credential := range map[string]string{"token": token, "access token": access} {
		if got := curl(credential); got != http.StatusUnauthorized {
			t.Errorf("her %s after her account is disabled: %d", what, got)
		}
	}
	m.ends(login(alicePassword), 3)
	m.here("admin", "user", "enable", "corp/alice")
	if got := curl(access); got != http.StatusOK {
		t.Errorf("her access token after it is enabled: %d", got)
	}

	// Another person with her name.
	d.Remove("alice")
	d.Add("alice", "another alice's password")
	m.ends(login("another alice's password"), 0)
	for what, credential := range map[string]string{"token": token, "access token": access} {
		if got := curl(credential); got != http.StatusUnauthorized {
			t.Errorf("the other's %s after she came: %d", what, got)
		}
	}
	m.ends(m.run(refresh, "exchange"), 3)
	s.stop()
}

// An exchange asks the directory whether its owner is still there.
func TestServeDirectoryExchange(t *testing.T) {
	t.Parallel()
	m, d, s := reception(t)
	m.ends(m.run(alicePassword, "login", "--server", "http://"+s.main, "--user", "corp/alice", "-"), 0)
	refresh := m.here("generate", "refresh", "ci", "--owner", "corp/alice", "--role", "editor")
	d.Stop()
	m.ends(m.run(refresh, "exchange"), 6)
	m.here("admin", "policy", "set", "directory_unreachable", "last_known")
	m.ends(m.run(refresh, "exchange"), 0)
	m.here("admin", "policy", "set", "directory_unreachable", "refuse")
	d.Restart()
	d.Remove("alice")
	m.ends(m.run(refresh, "exchange"), 3)
	s.stop()
}

// Whatever is written in place of a name is one person or nobody. An empty
// password, which a directory takes for that of a stranger (RFC 4513 §5.1.2),
// does not get to it.
func TestServeDirectoryNames(t *testing.T) {
	t.Parallel()
	m, d, s := reception(t)
	const composed, decomposed = "jos\u00e9", "jose\u0301"
	d.Add(composed, "the password of josé")
	for _, c := range []struct{ user, password, is string }{
		{"corp/alice", alicePassword, "corp/alice"},
		{"corp/ALICE", alicePassword, "corp/alice"},
		{"corp/alice ", alicePassword, "corp/alice"},
		{"corp/" + composed, "the password of josé", "corp/" + composed},
		{"corp/" + decomposed, "the password of josé", "corp/" + composed},
		{"corp/*", alicePassword, ""},
		{"corp/al*", alicePassword, ""},
		{"corp/alice)(uid=*", alicePassword, ""},
		{"corp/" + composed, alicePassword, ""},
	} {
		r := m.run(c.password, "login", "--server", "http://"+s.main, "--user", c.user, "--rotate", "-")
		if c.is == "" {
			m.ends(r, 3)
		} else {
			m.ends(r, 0, " as "+c.is+", with token")
		}
		status, _, body := s.ask(http.MethodGet, "/api/v1/whoami", c.user+":"+c.password)
		if is := strings.Contains(body, `"owner":"`+c.is+`"`); c.is == "" && status != 401 || c.is != "" && (status != 200 || !is) {
			t.Errorf("%q at the interface: %d %s", c.user, status, body)
		}
	}
	if got := m.here("admin", "user", "list", "--realm", "corp", "-o", "name"); got != "corp/alice\ncorp/"+composed {
		t.Errorf("the accounts are %q", got)
	}

	before := len(d.Log())
	if !strings.Contains(d.Log(), "BIND dn=\""+slapd.DN("alice")) {
		t.Errorf("the log of the directory tells of no bind:\n%s", d.Log())
	}
	if r := m.run("\n", "login", "--server", "http://"+s.main, "--user", "corp/alice", "-"); r.code != 2 && r.code != 3 {
		t.Errorf("an empty password: %v", r)
	}
	if status, _, body := s.ask(http.MethodGet, "/api/v1/whoami", "corp/alice:"); status != 401 {
		t.Errorf("an empty password at the interface: %d %s", status, body)
	}
	if log := d.Log()[before:]; strings.Contains(log, "BIND") {
		t.Errorf("an empty password got to the directory:\n%s", log)
	}
	s.stop()
}
