//go:build linux

package cmd_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/oidc"
)

// object is one of JSON.
type object = map[string]any

// federation is a server of tokens that knows a provider that others wrote, as corp.
type federation struct {
	*machine
	s     *running
	op    *oidc.Server
	admin string // a credential
	corp  object // the provider as it is now
}

// newFederation starts both. corp has these settings, besides those that it needs.
func newFederation(t *testing.T, o oidc.Options, settings object) *federation {
	t.Helper()
	f := &federation{machine: newMachine(t), op: oidc.Start(t, o)}
	f.s = f.serve()
	f.admin = f.must("", "generate")
	f.corp = object{
		"name": "corp", "issuer": f.op.Issuer, "audiences": []string{oidc.Audience}, "client_id": oidc.Public, "unlinked": true,
		"role_claim": "groups", "role_map": []object{{"from": "ops", "role": "writer"}},
	}
	maps.Copy(f.corp, settings)
	f.want(201, "POST", "/api/v1/providers", f.corp)
	return f
}

// change changes settings of corp.
func (f *federation) change(settings object) {
	f.t.Helper()
	maps.Copy(f.corp, settings)
	f.want(200, "PUT", "/api/v1/providers/corp", f.corp)
}

// want asks as the administrator.
func (f *federation) want(status int, method, path string, body object) object {
	f.t.Helper()
	got, text := f.post(method, path, "application/json", marshal(f.t, body), f.admin)
	if got != status {
		f.t.Fatalf("%s %s: %d %s", method, path, got, text)
	}
	answer := object{}
	if err := json.Unmarshal([]byte(text), &answer); err != nil && text != "" {
		f.t.Fatal(err)
	}
	return answer
}

func (f *federation) post(method, path, kind string, body []byte, credential string) (status int, text string) {
	f.t.Helper()
	r, err := http.NewRequest(method, "http://"+f.s.main+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	authorize(r, credential)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// login logs in at corp, with somebody who does what is to be done with the page
// that it names.
func (f *federation) login(visit func(page string) error, args ...string) result {
	f.t.Helper()
	args = append([]string{"login", "--server", "http://" + f.s.main, "--idp", "corp"}, args...)
	c := f.command(f.t.Context(), args...)
	var out bytes.Buffer
	said := &logbook{}
	c.Stdout, c.Stderr = &out, said
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { c.Wait(); close(done) }()
	if err := visit(f.page(said, done, c)); err != nil {
		f.t.Error(err)
	}
	<-done
	return result{args, c.ProcessState.ExitCode(), out.String(), said.String()}
}

var pageToOpen = regexp.MustCompile(`open this page to log in: (\S+)\n`)

// page waits for the page to open. Empty: it ended before.
func (f *federation) page(said *logbook, done chan struct{}, c *exec.Cmd) (page string) {
	eventually(f.t, "it says what to open", func() bool {
		if found := pageToOpen.FindStringSubmatch(said.String()); found != nil {
			page = found[1]
			return true
		}
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	return page
}

func somebody(name string) func(string) error {
	return func(page string) error {
		_, err := oidc.Person(name, page)
		return err
	}
}

// is checks who the caller of the context is, and that nothing of the provider's
// is kept.
func (f *federation) is(owner string) {
	f.t.Helper()
	if got := f.must("", "whoami", "--context", "127.0.0.1", "-o", "name"); got != owner {
		f.t.Errorf("whoami: %s, want %s", got, owner)
	}
	for name, what := range state(f.t, f.home) {
		if secretText.MatchString(what) && strings.Contains(what, "eyJ") {
			f.t.Errorf("a JWT is kept in %s", name)
		}
	}
}

// Somebody who has no password here logs in where the organisation's people do.
func TestServeLoginAtProvider(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	r := f.login(somebody("alice"), "--device")
	f.ends(r, 0, "the code, there and here: ", " as corp/alice, with token ", "the context is 127.0.0.1")
	if r.out != "" {
		t.Errorf("stdout holds %q", r.out)
	}
	f.is("corp/alice")
	if got := f.must("", "whoami", "--context", "127.0.0.1", "--jq", ".roles[]"); got != "writer" {
		t.Errorf("her roles: %s", got)
	}

	// Without a terminal it is the way by device, whatever display there is.
	f.env = []string{"DISPLAY=:99"}
	f.ends(f.login(somebody("alice")), 5, "--rotate gives it a new secret")
	f.ends(f.login(somebody("alice"), "--rotate"), 0, "the code, there and here: ")
	f.is("corp/alice")

	// By browser, and as the account that she is linked to.
	f.must("", "admin", "user", "add", "alice", "--store", "bolt://"+f.db())
	f.ends(f.run("", "admin", "user", "delete", "corp/alice", "--yes", "--store", "bolt://"+f.db()), 0)
	f.want(200, "POST", "/api/v1/accounts:link", object{"owner": "local/alice", "provider": "corp", "subject": "alice"})
	f.env = []string{"BROWSER=alices-browser"}
	r = f.run("", "login", "--server", "http://"+f.s.main, "--idp", "corp", "--browser")
	f.ends(r, 0, "open this page to log in: "+f.op.Issuer+"/auth?", " as local/alice, with token ")
	if r.out != "" || strings.Contains(r.err, "no browser") {
		t.Errorf("%v", r)
	}
	f.is("local/alice")
	f.s.stop()
}

// A terminal with a display, and not over SSH, is one with a browser.
func TestServeLoginAtProviderOnADesktop(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	login := []string{"login", "--server", "http://" + f.s.main, "--idp", "corp", "--rotate"}
	f.env = []string{"DISPLAY=:99", "BROWSER=alices-browser"}
	p := f.sit(t, nil, login...)
	p.end(0, "/auth?", " as corp/alice, with token ")

	f.env = []string{"DISPLAY=:99", "BROWSER=/nowhere/browser"}
	p = f.sit(t, nil, login...)
	p.expect("no browser could be opened: ")
	page := regexp.MustCompile(`open this page to log in: (\S+)`).FindStringSubmatch(p.screen())
	if _, err := oidc.Person("alice", page[1]); err != nil {
		t.Error(err)
	}
	p.end(0)

	for _, env := range [][]string{nil, {"DISPLAY=:99", "SSH_CONNECTION=192.0.2.1 50000 192.0.2.2 22"}} {
		f.env = env
		p = f.sit(t, nil, login...)
		p.expect("the code, there and here: ")
		p.send("\x03")
		p.end(130)
	}
	f.s.stop()
}

// A log-in that fails says at whom it failed, and leaves nothing.
func TestServeLoginAtProviderFails(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	at := []string{"login", "--server", "http://" + f.s.main, "--idp"}
	f.ends(f.run("", append(at, "corpse")...), 4, `no identity provider "corpse"`, "hint: there is corp\n")
	f.ends(f.login(oidc.Refuse, "--device"), 3, "at the provider the log-in was refused")

	c := f.command(t.Context(), append(at, "corp", "--device")...)
	said, done := &logbook{}, make(chan struct{})
	c.Stderr = said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.Wait(); close(done) }()
	f.page(said, done, c)
	c.Process.Signal(syscall.SIGINT)
	<-done
	if c.ProcessState.ExitCode() != 130 {
		t.Errorf("Ctrl-C: exit %d: %s", c.ProcessState.ExitCode(), said)
	}

	f.change(object{"unlinked": false})
	f.ends(f.login(somebody("alice"), "--device"), 3, "does not accept whom the identity provider corp says you are", "tokenctl admin idp test")
	f.change(object{"unlinked": true, "client_id": "nobody"})
	f.ends(f.run("", append(at, "corp", "--device")...), 3, "invalid_client")
	f.change(object{"audiences": []string{oidc.Opaque}, "client_id": oidc.Public})
	f.ends(f.login(somebody("alice"), "--device"), 3, "is no JWT", "hint: have the provider know "+oidc.Opaque)
	f.change(object{"audiences": []string{oidc.Audience}})
	f.op.Stop()
	f.ends(f.run("", append(at, "corp", "--device")...), 6, "connection refused")
	f.ends(f.run("", append(at, "corp", "--browser")...), 6, "connection refused")
	f.change(object{"status": "disabled"})
	f.ends(f.run("", append(at, "corp", "--device")...), 4, "it has none at all")

	if left := f.here("list", "--all-owners", "--jq", `[.[] | select(.owner != "local/`+systemUserName()+`")] | length`); left != "0" {
		t.Errorf("%s tokens are left", left)
	}
	if _, there := state(t, f.home)[filepath.Join(f.home, ".config", "tokenctl", "contexts.yaml")]; there {
		t.Error("a context is left")
	}
	f.s.stop()
}
