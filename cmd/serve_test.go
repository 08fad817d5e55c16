//go:build linux

package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// running is a tokenctl serve that runs.
type running struct {
	m       *machine
	process *os.Process
	log     *logbook
	main    string // addresses
	metrics string
	done    chan struct{}
	state   *os.ProcessState
}

// logbook keeps what a process writes.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// records are the whole lines of a log, which are JSON objects.
func (l *logbook) records(t testing.TB) (list []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil || r["msg"] == nil || r["time"] == nil || r["level"] == nil {
			t.Fatalf("the line %q is no record: %v", line, err)
		}
		list = append(list, r)
	}
	return list
}

// find is the first record in which a field has a value.
func (l *logbook) find(t testing.TB, field, value string) map[string]any {
	t.Helper()
	for _, r := range l.records(t) {
		if fmt.Sprint(r[field]) == value {
			return r
		}
	}
	return nil
}

// serve starts a server with a main listener at a free port, and ends it with
// the test.
func (m *machine) serve(args ...string) *running {
	m.t.Helper()
	return m.serveWith(func(*exec.Cmd) {}, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
}

func (m *machine) serveWith(change func(*exec.Cmd), args ...string) *running {
	m.t.Helper()
	s := m.start(change, args...)
	eventually(m.t, "it serves", func() bool {
		if s.ended() {
			m.t.Fatalf("serve has ended: %v\n%s", s.state, s.log)
		}
		return s.log.find(m.t, "listener", "local") != nil
	})
	for _, r := range s.log.records(m.t) {
		switch r["listener"] {
		case "main":
			s.main = r["address"].(string)
		case "metrics":
			s.metrics = r["address"].(string)
		}
	}
	return s
}

func (m *machine) start(change func(*exec.Cmd), args ...string) *running {
	m.t.Helper()
	c := m.command(context.Background(), append([]string{"serve"}, args...)...)
	s := &running{m: m, log: &logbook{}, done: make(chan struct{})}
	c.Stderr = s.log
	change(c)
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	s.process = c.Process
	go func() {
		c.Wait()
		s.state = c.ProcessState
		close(s.done)
	}()
	m.t.Cleanup(func() {
		s.process.Kill()
		<-s.done
	})
	return s
}

func (s *running) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// stop ends it as systemd does.
func (s *running) stop() {
	s.m.t.Helper()
	s.process.Signal(syscall.SIGTERM)
	s.ends()
}

// ends waits for its end. Whatever the test has done, the log is in order, and
// has no secret in it.
func (s *running) ends() {
	s.m.t.Helper()
	eventually(s.m.t, "serve ends", s.ended)
	if code := s.state.ExitCode(); code != 0 {
		s.m.t.Errorf("serve has ended with %d:\n%s", code, s.log)
	}
	s.log.records(s.m.t)
	if found := regexp.MustCompile(`tk[cprs]_[0-9A-Za-z]|eyJ|Basic |Bearer `).FindString(s.log.String()); found != "" {
		s.m.t.Errorf("%q is in the log:\n%s", found, s.log)
	}
}

// kill ends it without a chance to do anything.
func (s *running) kill() {
	s.process.Kill()
	<-s.done
}

// ask sends a request to the main listener. A credential with a colon is a pair
// for Basic, one without is for Bearer.
func (s *running) ask(method, path, credential string) (status int, header http.Header, body string) {
	s.m.t.Helper()
	return ask(s.m.t, http.DefaultClient, method, "http://"+s.main+path, credential)
}

func ask(t testing.TB, client *http.Client, method, url, credential string) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	authorize(r, credential)
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func authorize(r *http.Request, credential string) {
	if user, pass, pair := strings.Cut(credential, ":"); pair {
		r.SetBasicAuth(user, pass)
	} else if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
}

// writeTLS writes a certificate for this machine, with a serial number to tell
// it by, and its key.
func writeTLS(t testing.TB, certFile, keyFile string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost", "app.example.org"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	put(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	pool := x509.NewCertPool()
	if c, err := x509.ParseCertificate(der); err == nil {
		pool.AddCert(c)
	}
	return pool
}

// Everything once: a credential is verified, on the other listeners is what
// belongs there, and what was asked for is in the log.
func TestServe(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t)
	s := m.serve("--metrics-listen", "127.0.0.1:0", "--log-level", "debug")
	if status, header, _ := s.ask("GET", "/verify", seed.pair); status != 200 || header.Get("X-Auth-User") == "" {
		t.Errorf("a good pair: %d %v", status, header)
	}
	if status, header, _ := s.ask("GET", "/verify", ""); status != 401 || header.Get("WWW-Authenticate") == "" {
		t.Errorf("no credential: %d %v", status, header)
	}
	for _, at := range []string{s.main, s.metrics} {
		for _, path := range []string{"/livez", "/readyz"} {
			if status, _, body := ask(t, http.DefaultClient, "GET", "http://"+at+path, ""); status != 200 || body != "ok\n" {
				t.Errorf("%s: %d %q", path, status, body)
			}
		}
	}
	_, _, counted := ask(t, http.DefaultClient, "GET", "http://"+s.metrics+"/metrics", "")
	for _, want := range []string{
		`tokenctl_verdicts_total{outcome="accepted"} 1`, `tokenctl_verdicts_total{outcome="refused"} 1`,
		`tokenctl_http_requests_total{code="200",method="GET",route="/verify"} 1`,
		`tokenctl_http_connections{listener="main"}`, "\ngo_memstats_heap_alloc_bytes ", "\nprocess_open_fds ",
	} {
		if !strings.Contains(counted, want) {
			t.Errorf("%q is not counted:\n%s", want, counted)
		}
	}
	if status, _, _ := s.ask("GET", "/metrics", ""); status != 404 {
		t.Errorf("the main listener tells strangers its metrics: %d", status)
	}
	if status, _, _ := ask(t, http.DefaultClient, "GET", "http://"+s.metrics+"/verify", seed.pair); status != 404 {
		t.Errorf("the metrics listener verifies: %d", status)
	}
	s.stop()
	if s.log.find(t, "route", "GET /readyz") == nil {
		t.Errorf("no request is in the log:\n%s", s.log)
	}
}

// What is wrong is told before anything is touched: no store, no listener.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	cert, key := filepath.Join(m.home, "cert"), filepath.Join(m.home, "key")
	put(t, cert, []byte("garbage"))
	put(t, key, []byte("garbage"))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", "0.0.0.0:0"}, "without TLS"},
		{[]string{"--listen", ":0"}, "without TLS"},
		{[]string{"--listen", "[::]:0"}, "without TLS"},
		{[]string{"--listen", "192.0.2.1:0"}, "without TLS"},
		{[]string{"--listen", "127.0.0.1"}, "host:port"},
		{[]string{"--listen", "no such host:0"}, "host:port"},
		{[]string{"--tls-cert", cert}, "both"},
		{[]string{"--tls-cert", cert, "--tls-key", key}, "TLS files"},
		{[]string{"--tls-cert", m.home, "--tls-key", key}, "TLS files"},
		{[]string{"--trusted-proxy", "10.0.0.0/33"}, "10.0.0.0/33"},
		{[]string{"--log-level", "loud"}, "loud"},
		{[]string{"--max-body", "0"}, "max_body"},
		{[]string{"--read-timeout", "5"}, "read-timeout"},
		{[]string{"--server", "https://tokens.example.org"}, "tokens.example.org"},
		{[]string{"something"}, "something"},
	} {
		m.ends(m.run("", append([]string{"serve"}, c.args...)...), 2, c.want)
	}
	if _, err := os.Stat(m.folder()); err == nil {
		t.Error("a store was made")
	}
	m.ends(m.run("", "serve", "--listen", "127.0.0.1:0", "--issuer", "no issuer"), 2, "issuer")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := m.runWith(func(*exec.Cmd) {}, "serve", "--listen", taken.Addr().String())
	if r.code != 6 || !strings.Contains(r.err, "address already in use") {
		t.Error(r)
	}
}

// With --insecure-plain-http it serves the network all the same, and says so.
func TestServePlain(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t)
	s := m.serveWith(func(*exec.Cmd) {}, "--listen", "0.0.0.0:0", "--insecure-plain-http")
	_, port, _ := net.SplitHostPort(s.main)
	if status, _, _ := ask(t, http.DefaultClient, "GET", "http://127.0.0.1:"+port+"/verify", seed.pair); status != 200 {
		t.Errorf("status %d", status)
	}
	s.stop()
	if s.log.find(t, "level", "WARN") == nil {
		t.Errorf("no warning:\n%s", s.log)
	}
}

// The config file and the environment say the same as flags.
func TestServeSettings(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t, "TOKENCTL_SERVE_ISSUER=https://tokens.example.org")
	put(t, filepath.Join(m.home, ".config", "tokenctl", "config.yaml"), []byte(`serve:
  listen: "127.0.0.1:0"
  metrics_listen: "127.0.0.1:0"
  trusted_proxies: ["127.0.0.0/8"]
  max_bearer: 20
  log_level: debug
`))
	s := m.serveWith(func(*exec.Cmd) {})
	if s.metrics == "" {
		t.Error("there is no metrics listener")
	}
	if status, _, _ := s.ask("GET", "/verify", seed.pair); status != 401 {
		t.Errorf("max_bearer does not count: %d", status)
	}
	r, err := http.NewRequest("GET", "http://"+s.main+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	if _, err := http.DefaultClient.Do(r); err != nil {
		t.Fatal(err)
	}
	if got := m.must("", "admin", "policy", "show", "-o", "json", "--jq", ".issuer"); got != "https://tokens.example.org" {
		t.Errorf("the issuer is %q", got)
	}
	s.stop()
	if s.log.find(t, "from", "203.0.113.9") == nil {
		t.Errorf("the trusted proxy is not believed:\n%s", s.log)
	}
	if got := m.must("", "admin", "policy", "show", "-o", "json", "--jq", ".issuer"); got != "https://tokens.example.org" {
		t.Errorf("the issuer was %q again", got)
	}
}

// A store that somebody removes while it is in use is told by the probe: what
// is written from then on would be lost.
func TestServeReadyWithoutItsFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := m.serve()
	ready := func() int {
		status, _, _ := s.ask(http.MethodGet, "/readyz", "")
		return status
	}
	if got := ready(); got != http.StatusOK {
		t.Fatalf("ready: %d", got)
	}
	for _, path := range []string{m.db(), m.key()} {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if got := ready(); got != http.StatusServiceUnavailable {
			t.Errorf("without %s: %d", path, got)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		if got := ready(); got != http.StatusOK {
			t.Errorf("with %s again: %d", path, got)
		}
	}
	s.stop()
}

// An answer that a proxy cut short is no backup, and leaves none.
func TestBackupCutShort(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("", "generate", "refresh", "ci")
	whole := filepath.Join(m.home, "whole")
	m.must("", "admin", "backup", whole)
	backup, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string][]byte{"half": backup[:len(backup)/2], "nothing": nil, "garbage": []byte("<html>"), "all but a byte": backup[:len(backup)-1]} {
		// HTTP/1.0: the end of the connection is the end of the answer.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
				c.Write(body)
				c.Close()
			}
		}()
		file := filepath.Join(m.home, "cut")
		r := m.run("", "admin", "backup", file, "--server", "http://"+l.Addr().String())
		l.Close()
		m.ends(r, 6)
		if _, err := os.Lstat(file); err == nil {
			t.Errorf("%s: there is a backup", what)
		}
	}
}
