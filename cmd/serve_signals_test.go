//go:build linux

package cmd_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tlsServed is a server with TLS, and a way to see which certificate it has.
func tlsServed(t *testing.T, m *machine, args ...string) (s *running, rewrite func(serial int64), serial func() int64) {
	t.Helper()
	cert, key := filepath.Join(m.home, "cert.pem"), filepath.Join(m.home, "key.pem")
	rewrite = func(serial int64) { writeTLS(t, cert, key, serial) }
	rewrite(1)
	s = m.serve(append([]string{"--tls-cert", cert, "--tls-key", key}, args...)...)
	return s, rewrite, func() int64 {
		c, err := tls.Dial("tcp", s.main, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
}

// SIGHUP reads the TLS files again; broken ones change nothing. Requests under
// way do not notice.
func TestServeReload(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t)
	s, rewrite, serial := tlsServed(t, m, "--metrics-listen", "127.0.0.1:0")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	good := func() {
		t.Helper()
		if status, _, _ := ask(t, client, "GET", "https://"+s.main+"/verify", seed.pair); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	hup := func(message string) {
		t.Helper()
		before := strings.Count(s.log.String(), message)
		s.process.Signal(syscall.SIGHUP)
		eventually(t, message, func() bool { return strings.Count(s.log.String(), message) > before })
		good()
	}
	good()
	if got := serial(); got != 1 {
		t.Errorf("certificate %d", got)
	}
	rewrite(2)
	if got := serial(); got != 1 {
		t.Errorf("certificate %d before SIGHUP", got)
	}
	hup("TLS files reloaded")
	if got := serial(); got != 2 {
		t.Errorf("certificate %d after SIGHUP", got)
	}

	cert, key := filepath.Join(m.home, "cert.pem"), filepath.Join(m.home, "key.pem")
	for name, spoil := range map[string]func(){
		"half a certificate": func() { put(t, cert, []byte("-----BEGIN CERTIFICATE-----\n")) },
		"another's key":      func() { rewrite(3); writeTLS(t, filepath.Join(m.home, "other.pem"), key, 4) },
		"no key":             func() { os.Remove(key) },
		"a folder":           func() { os.Remove(cert); os.Mkdir(cert, 0o700) },
	} {
		spoil()
		hup("the old ones stay")
		if got := serial(); got != 2 {
			t.Errorf("%s: certificate %d", name, got)
		}
		os.Remove(cert)
	}
	rewrite(5)
	hup("TLS files reloaded")
	if got := serial(); got != 5 {
		t.Errorf("certificate %d at last", got)
	}
	if _, _, counted := ask(t, client, "GET", "http://"+s.metrics+"/metrics", ""); strings.Contains(counted, "tokenctl_tls_certificate_expiry_timestamp_seconds 0\n") {
		t.Error("the expiry of the certificate is not told")
	}

	// TLS 1.1 is not spoken.
	if c, err := tls.Dial("tcp", s.main, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	client.CloseIdleConnections()
	s.stop()
}

// At SIGTERM a request under way is answered, and nobody new is.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	s := m.serve("--read-timeout", "60s", "--drain-timeout", "60s")
	c, finish := halfRequest(t, s)
	s.process.Signal(syscall.SIGTERM)
	eventually(t, "nobody new is let in", func() bool {
		c, err := net.Dial("tcp", s.main)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, err := os.Lstat(m.db() + ".sock"); err == nil {
		t.Error("the socket is still there")
	}
	// The store is held till the end.
	m.ends(m.run("", "list", "--timeout", "300ms"), 6, fmt.Sprintf("in use by tokenctl (pid %d)", s.process.Pid), "hint: ")
	if s.ended() {
		t.Fatal("it did not wait for the request")
	}
	if answer := finish(); !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("the request under way got %q", answer)
	}
	c.Close()
	s.ends()
	m.must("", "list")
}

// halfRequest is a request of which half is sent.
func halfRequest(t *testing.T, s *running) (c net.Conn, finish func() string) {
	t.Helper()
	c, err := net.Dial("tcp", s.main)
	if err != nil {
		t.Fatal(err)
	}
	body := "token=nobody-knows-this&token_type_hint=refresh_token&client_id=default"
	fmt.Fprintf(c, "POST /oauth2/revoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	// Asked to go on, it has begun to answer.
	buffer := make([]byte, 4096)
	if n, err := c.Read(buffer); err != nil || !strings.HasPrefix(string(buffer[:n]), "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", buffer[:n], err)
	}
	io.WriteString(c, body[:10])
	return c, func() string {
		io.WriteString(c, body[10:])
		c.SetReadDeadline(time.Now().Add(patience))
		answer, _ := io.ReadAll(c)
		return string(answer)
	}
}

// A request that does not end is cut off after the time for that.
func TestServeDrainEnds(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	s := m.serve("--read-timeout", "1h", "--drain-timeout", "100ms")
	c, _ := halfRequest(t, s)
	defer c.Close()
	s.stop()
	if s.log.find(t, "msg", "connections were cut off") == nil {
		t.Errorf("the log does not say so:\n%s", s.log)
	}
}

// systemd is told what goes on.
func TestServeNotifies(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	folder, err := os.MkdirTemp("", "tk") // its path fits into an address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	next := func() string {
		t.Helper()
		socket.SetReadDeadline(time.Now().Add(patience))
		buffer := make([]byte, 4096)
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	m.env = append(m.env, "NOTIFY_SOCKET="+filepath.Join(folder, "n"))
	s := m.serve()
	if got := next(); got != "READY=1" {
		t.Errorf("first %q", got)
	}
	s.process.Signal(syscall.SIGHUP)
	if got := next(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=\d+\n$`).MatchString(got) {
		t.Errorf("at SIGHUP %q", got)
	}
	if got := next(); got != "READY=1" {
		t.Errorf("then %q", got)
	}
	s.process.Signal(syscall.SIGTERM)
	if got := next(); got != "STOPPING=1" {
		t.Errorf("at SIGTERM %q", got)
	}
	s.ends()
}
