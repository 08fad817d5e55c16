//go:build linux

package cmd_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/needs"
)

// oauthClients are clients that others wrote, with their strict checks on.
var oauthClients = []struct {
	name    string
	program string
	script  string
	needed  string // what the script imports
}{
	{"oauth4webapi", "node", "oauth4webapi.mjs", "node_modules/oauth4webapi"},
	{"openid-client", "node", "openid-client.mjs", "node_modules/openid-client"},
	{"authlib", "/usr/bin/python3", "authlib_client.py", "authlib, requests"},
	{"requests-oauthlib", "/usr/bin/python3", "requests_oauthlib_client.py", "requests_oauthlib, jwt, cryptography"},
}

// Clients of OAuth that know nothing of us discover the server, refresh,
// introspect and revoke, and are refused afterwards: public ones, and those with
// a secret, in each of the ways to show it.
func TestServeOAuthClients(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := m.serve()
	issuer := "http://" + s.main
	m.must("", "admin", "policy", "set", "issuer", issuer)
	code, pass, _ := strings.Cut(m.must("", "generate"), ":")
	const audience = "https://api.example.org/crm"
	secrets := map[string]string{}
	for _, method := range token.AuthMethods() {
		secrets[string(method)] = m.must("", "admin", "connection", "add", "crm-"+string(method), "--entity-id", audience, "--auth-method", string(method))
	}
	for _, c := range oauthClients {
		for method, secret := range secrets {
			t.Run(c.name+"/"+method, func(t *testing.T) {
				program := needs.Program(t, c.program)
				folder := filepath.Join("..", "testdata", "oauth")
				if c.program == "node" {
					if _, err := os.Stat(filepath.Join(folder, c.needed)); err != nil {
						needs.Missing(t, "npm ci has not been run in testdata/oauth")
					}
				} else if exec.CommandContext(t.Context(), program, "-c", "import "+c.needed).Run() != nil {
					needs.Missing(t, "python3 has not all of "+c.needed)
				}
				id := "crm-" + method
				refresh := m.must("", "generate", "refresh", c.name+"-"+method, "--connection", id, "--role", "reader", "--role", "writer")
				x := exec.CommandContext(t.Context(), program, c.script)
				x.Dir = folder
				x.Env = []string{
					"PATH=" + os.Getenv("PATH"), "HOME=" + m.home, "ISSUER=" + issuer, "CLIENT_ID=" + id, "AUTH_METHOD=" + method, "AUDIENCE=" + audience,
					"REFRESH_TOKEN=" + refresh, "CALLER_CODE=" + code, "CALLER_PASSCODE=" + pass,
					"AUTHLIB_INSECURE_TRANSPORT=1", "OAUTHLIB_INSECURE_TRANSPORT=1", "OAUTHLIB_RELAX_TOKEN_SCOPE=1",
				}
				if secret != "" {
					x.Env = append(x.Env, "CLIENT_SECRET="+secret)
				}
				var stderr bytes.Buffer
				x.Stderr = &stderr
				out, err := x.Output()
				if err != nil {
					t.Fatalf("%v\n%s\n%s", err, stderr.String(), s.log)
				}
				checkOAuthClient(t, out, issuer, id)
			})
		}
	}
	s.stop()
}

type introspected struct {
	Active bool
	Scope  string
	Client string `json:"client_id"`
	Sub    string
	Kind   string
}

func checkOAuthClient(t *testing.T, out []byte, issuer, id string) {
	t.Helper()
	var got struct {
		Granted, Narrowed, Refused string
		Claims                     struct {
			Iss, Aud, Sub, Scope string
			Client               string   `json:"client_id"`
			Roles                []string `json:"urn:identify:rest-api:role"`
			Iat, Exp             int
		}
		Before, After []introspected
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	me := "local/" + systemUserName()
	want := got
	want.Granted, want.Narrowed, want.Refused = "reader writer", "reader", "invalid_grant"
	want.Claims.Iss, want.Claims.Aud, want.Claims.Sub, want.Claims.Scope = issuer, "https://api.example.org/crm", me, "reader"
	want.Claims.Client, want.Claims.Roles, want.Claims.Exp = id, []string{"reader"}, got.Claims.Iat+3600
	want.Before = []introspected{{true, "reader writer", id, me, "refresh"}, {true, "reader writer", id, me, "access"}}
	want.After = make([]introspected, 3) // inactive, and nothing but that
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
