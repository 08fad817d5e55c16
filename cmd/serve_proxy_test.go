//go:build linux

package cmd_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// behind is an application behind a proxy that asks serve who is there.
type behind struct {
	t      *testing.T
	url    string // of the proxy
	client *http.Client
	proxy  *logbook

	mu       sync.Mutex
	asked    []*http.Request // what has reached serve
	received []*http.Request // what has reached the application
}

// newBehind starts the application, and a recorder before serve. start starts
// the proxy, which talks to both, and returns its URL.
func newBehind(t *testing.T, s *running, start func(recorder, application string) string) *behind {
	t.Helper()
	b := &behind{t: t, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.main})
	forward.ErrorLog = log.New(io.Discard, "", 0) // at the end there is no serve
	recorder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.asked = append(b.asked, r.Clone(r.Context()))
		b.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(recorder.Close)
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.received = append(b.received, r)
		b.mu.Unlock()
		fmt.Fprintf(w, "%s %s for %s: %s", r.Method, r.RequestURI, r.Header.Get("X-Auth-User"), body)
	}))
	t.Cleanup(application.Close)
	b.url = start(recorder.Listener.Addr().String(), application.Listener.Addr().String())
	return b
}

// send is a request through the proxy, and what reached the application.
func (b *behind) send(method, path, credential, body string, header http.Header) (status int, answer http.Header, text string, received *http.Request) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values // as it is written
	}
	authorize(r, credential)
	b.mu.Lock()
	b.asked, b.received = nil, nil
	b.mu.Unlock()
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	answered, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, asked := range b.asked {
		if asked.RequestURI != "/verify" {
			b.t.Errorf("serve was asked for %s", asked.RequestURI)
		}
	}
	if len(b.received) > 0 {
		received = b.received[0]
	}
	return resp.StatusCode, resp.Header, string(answered), received
}

// lies are what a client may say of itself.
func lies() http.Header {
	h := http.Header{}
	for _, name := range []string{
		"X-Auth-User", "X-Auth-Realm", "X-Auth-Roles", "X-Auth-Kind", "X-Auth-Token", "X-Auth-Expires", "X-Auth-Groups", "X-Auth-Email",
		"X-Tokenctl-Service", "X-Tokenctl-Connection", "X-Tokenctl-Role", "X-Tokenctl-User", "X-Forwarded-User", "Remote-User", "X-Remote-User",
		"X_Auth_User", "X_Forwarded_User", "X_Tokenctl_Role", "Remote_User", "x-auth-user",
	} {
		h[name] = []string{"mallory"}
	}
	h["X-Original-Uri"] = []string{"/verify/service/mallory"}
	h["X-Forwarded-Uri"] = []string{"/verify/service/mallory"}
	h["X-Forwarded-For"] = []string{"203.0.113.9"}
	return h
}

// check is what must hold behind every proxy.
func (b *behind) check(s *running, pair, admin string) {
	t := b.t
	t.Helper()
	refused := func(what string, status int, answer http.Header, received *http.Request) {
		t.Helper()
		if status != 401 || received != nil {
			t.Errorf("%s: %d, and the application got %v", what, status, received)
		}
		if got := strings.Join(answer.Values("WWW-Authenticate"), ", "); !strings.Contains(got, `realm="tokenctl"`) {
			t.Errorf("%s: WWW-Authenticate is %q", what, got)
		}
	}
	status, answer, _, received := b.send("GET", "/", "", "", nil)
	refused("no credential", status, answer, received)
	status, answer, _, received = b.send("GET", "/?"+url.QueryEscape(pair), "", "", lies())
	refused("lies alone", status, answer, received)
	status, answer, _, received = b.send("GET", "/", pair+"x", "", lies())
	refused("a wrong credential", status, answer, received)
	status, answer, _, received = b.send("GET", "/verify", strings.TrimLeft(pair, "0123456789abcdefghijklmnopqrstuvwxyz"), "", lies())
	refused("a passcode without its code", status, answer, received)
	for _, path := range []string{"/.tokenctl", "/%2etokenctl"} {
		if status, _, _, received := b.send("GET", path, "", "", lies()); received != nil || status < 400 {
			t.Errorf("%s is open: %d", path, status)
		}
	}

	for _, path := range []string{
		"/", "/deep/path?service=mallory&role=none", "/verify/service/mallory", "/x/..%2fverify/role/none", "/x;/../y?a=b#c", "/x/%2e%2e/verify/service/mallory?x",
	} {
		status, _, text, received := b.send("POST", path, pair, "the body", lies())
		if status != 200 || received == nil {
			t.Errorf("%s: %d %s\n%s", path, status, text, b.proxy)
			continue
		}
		if received.Header.Get("X-Auth-User") != "local/alice" || !strings.HasPrefix(text, "POST ") || !strings.HasSuffix(text, "for local/alice: the body") {
			t.Errorf("%s: the application is told of %q, and answers %q", path, received.Header.Get("X-Auth-User"), text)
		}
		for name, values := range received.Header {
			if strings.Contains(strings.Join(values, " "), "mallory") && name != "X-Original-Uri" && name != "X-Forwarded-Uri" {
				t.Errorf("%s: the application is told %s: %v", path, name, values)
			}
			if strings.EqualFold(name, "Authorization") {
				t.Errorf("%s: the application gets the credential", path)
			}
		}
		for _, name := range []string{"X-Auth-User", "X-Auth-Realm", "X-Auth-Token"} {
			if values := received.Header.Values(name); len(values) != 1 || values[0] == "" {
				t.Errorf("%s: the application is told %s: %q", path, name, values)
			}
		}
		if got := received.Header.Get("X-Forwarded-For"); got != "127.0.0.1" {
			t.Errorf("%s: the application is told X-Forwarded-For: %q", path, got)
		}
	}

	s.m.must("", "revoke", "--owner", "alice", "--kind", "user", "--yes")
	status, answer, _, received = b.send("GET", "/", pair, "", lies())
	refused("a revoked credential", status, answer, received)
	if status, _, _, _ := b.send("GET", "/", admin, "", nil); status != 200 {
		t.Errorf("another's credential: %d", status)
	}
	s.stop()
	if status, _, _, received := b.send("GET", "/", admin, "", lies()); status < 500 || received != nil {
		t.Errorf("without serve: %d", status)
	}
}

// proxied is a serve with a user token for alice and one for the owner.
func proxied(t *testing.T) (s *running, pair, admin string) {
	m, seed := seeded(t)
	return m.serve("--trusted-proxy", "127.0.0.1"), m.must("", "generate", "--owner", "alice"), seed.pair
}

// startProxy runs a proxy until the test ends, once it listens.
func startProxy(t *testing.T, at string, c *exec.Cmd) *logbook {
	t.Helper()
	output := &logbook{}
	c.Stdout, c.Stderr = output, output
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		c.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		<-ended
	})
	eventually(t, "the proxy listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("the proxy has ended:\n%s", output)
		default:
		}
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return output
}

// packaged is a file that we ship, with some texts replaced, each of which must
// be there.
func packaged(t *testing.T, name string, replace map[string]string) string {
	t.Helper()
	text := string(readFile(t, ".packaging/"+name))
	for old, now := range replace {
		if !strings.Contains(text, old) {
			t.Fatalf("%s does not say %q", name, old)
		}
		text = strings.ReplaceAll(text, old, now)
	}
	return text
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The nginx configuration that we ship, as it is but for addresses and files.
func TestServeBehindNginx(t *testing.T) {
	t.Parallel()
	nginx := needs.Program(t, "nginx", "/usr/sbin/nginx")
	s, pair, admin := proxied(t)
	dir := t.TempDir()
	at := freeAddress(t)
	cert, key := filepath.Join(dir, "app.crt"), filepath.Join(dir, "app.key")
	writeTLS(t, cert, key, 1)
	var output *logbook
	b := newBehind(t, s, func(recorder, application string) string {
		put(t, filepath.Join(dir, "app.conf"), []byte(packaged(t, "nginx.conf", map[string]string{
			"listen 443 ssl": "listen " + at + " ssl", "127.0.0.1:8470": recorder, "127.0.0.1:8080": application,
			"/etc/ssl/app.crt": cert, "/etc/ssl/app.key": key,
		})))
		user := ""
		if os.Getuid() == 0 {
			user = "user root;" // who may read the folder of the test
		}
		put(t, filepath.Join(dir, "nginx.conf"), []byte(`daemon off; master_process on; worker_processes 1; pid nginx.pid; error_log stderr warn; `+user+`
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
	include app.conf;
}
`))
		output = startProxy(t, at, exec.Command(nginx, "-p", dir+"/", "-c", "nginx.conf", "-e", "stderr"))
		return "https://" + at
	})
	b.proxy = output
	b.check(s, pair, admin)
}

// The Caddyfile that we ship, as it is but for addresses.
func TestServeBehindCaddy(t *testing.T) {
	t.Parallel()
	caddy := needs.Program(t, "caddy")
	s, pair, admin := proxied(t)
	dir := t.TempDir()
	at := freeAddress(t)
	var output *logbook
	b := newBehind(t, s, func(recorder, application string) string {
		put(t, filepath.Join(dir, "Caddyfile"), []byte("{\n\tadmin off\n\tauto_https off\n\tstorage file_system "+dir+"/data\n}\n"+
			packaged(t, "Caddyfile", map[string]string{
				"\napp.example.org {": "\nhttp://" + at + " {", "127.0.0.1:8470": recorder, "127.0.0.1:8080": application,
			})))
		c := exec.Command(caddy, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
		c.Env = []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		output = startProxy(t, at, c)
		return "http://" + at
	})
	b.proxy = output
	b.check(s, pair, admin)
}
