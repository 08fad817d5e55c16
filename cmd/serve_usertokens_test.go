//go:build linux

package cmd_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// A client of the user-token interface that knows nothing of us: curl and jq.
func TestServeUserTokensCurl(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl", "jq"} {
		needs.Program(t, program)
	}
	m, d, s := reception(t)
	d.Add("gone", "the password of gone")
	admin := m.here("generate")
	client := func(user, name string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "bash", "../testdata/usertokens/client.sh", "http://"+s.main, admin, user, name, "corp").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	client("corp/alice:"+alicePassword, "alice")

	// Of those who are gone, the purge of that interface takes the tokens.
	m.ends(m.run("the password of gone", "login", "--server", "http://"+s.main, "--user", "corp/gone", "-"), 0)
	d.Remove("gone")
	client("corp/alice:"+alicePassword, "alice")
	if left := m.here("list", "--owner", "corp/gone", "--jq", "length"); left != "0" {
		t.Errorf("%s tokens of somebody who is gone are left", left)
	}
	// While the directory is away it takes nothing, and says why.
	m.here("generate", "--owner", "corp/alice")
	d.Stop()
	status, header, body := s.ask("DELETE", "/api/v2/userTokens/purge", admin)
	if status != 409 || header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, "corp") {
		t.Errorf("with the directory away: %d %s", status, body)
	}
	s.stop()
}

// A server without directories has no purge.
func TestServeNoDirectories(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := m.serve()
	admin := m.here("generate")
	for path, want := range map[string]int{"POST /api/v1/orphans": 404, "POST /api/v1/orphans:purge": 404, "DELETE /api/v2/userTokens/purge": 409} {
		method, path, _ := strings.Cut(path, " ")
		status, header, body := s.ask(method, path, admin)
		if status != want || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
	m.ends(m.run("", "purge-orphans", "--dry-run"), 4, "no directory")
	s.stop()
}
