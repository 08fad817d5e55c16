//go:build linux

package cmd_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// What a real server says is told in plain words, also what is wrong with it.
func TestDirectoryTest(t *testing.T) {
	t.Parallel()
	s := slapd.Start(t, slapd.Options{People: 2, LDIF: slapd.Group("admins", slapd.DN("u1"))})
	m := newMachine(t)
	groups := "    group_base_dn: " + slapd.Groups + "\n    roles: [{group: \"CN=Admins, " + slapd.Groups + "\", role: \"tokenctl:admin\"}]\n"
	people := "directories:\n  - name: corp\n    kind: ldap\n    bind_dn: " + slapd.Service + "\n    bind_password_file: " + s.PasswordFile +
		"\n    base_dn: " + slapd.People + "\n    canary: " + slapd.Canary + "\n" + groups
	m.configure(people + "    url: " + s.TLSURL + "\n    ca_file: " + s.CAFile + "\n")
	m.must("", "config", "check")
	for user, says := range map[string]string{
		"U1":         "corp/u1 is there, called Person u1, entry ",
		"corp/u1":    "; groups: cn=admins," + slapd.Groups + "; roles: tokenctl:admin",
		"u2":         "corp/u2 is there",
		"u1)(uid=*":  "corp/u1)(uid=* is not there: no entry below " + slapd.People,
		"corp/gone":  "corp/gone is not there",
		"a\u200bb":   "control or invisible character",
		"corp/u1/u2": "corp/u1/u2 is not there",
	} {
		r := m.run("", "admin", "directory", "test", user)
		if !strings.Contains(r.out, says) || strings.Contains(says, "is there") != (r.code == 0) && !strings.Contains(says, "groups") {
			t.Errorf("%q is not told %q: %v", user, says, r)
		}
	}
	if got := m.must("", "admin", "directory", "test"); !strings.Contains(got, "corp/canary is there") {
		t.Errorf("without a user: %s", got)
	}
	for url, says := range map[string]string{
		s.TLSURL: "TLS failed", "ldap://127.0.0.1:1": "connection refused", s.SocketURL + "x": "cannot be reached",
	} {
		m.configure(people + "    url: " + url + "\n")
		m.ends(m.run("", "admin", "directory", "test"), 6, says)
	}
	m.configure(people + "    url: ldaps://127.0.0.1\n    ca_file: " + filepath.Join(m.home, "gone.pem") + "\n")
	m.ends(m.run("", "config", "check"), 2, "gone.pem")
}
