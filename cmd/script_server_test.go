package cmd_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// TestScriptsOverServer runs the scripts of [TestScripts] once more, over a
// tokenctl serve on the store of each. They know nothing of credentials, so
// what they take for the server is a forwarder onto the local socket, where
// serve knows the caller as the owner of the file.
func TestScriptsOverServer(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		needs.Missing(t, "there is no local socket on Windows")
	}
	files, err := filepath.Glob(filepath.Join(scripts, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	p := scriptParams(overServer)
	for _, name := range files {
		if base := filepath.Base(name); !strings.HasPrefix(base, "local_") && !strings.HasPrefix(base, "server_") {
			p.Files = append(p.Files, name)
		}
	}
	if len(p.Files) == 0 {
		t.Fatal("no scripts")
	}
	testscript.Run(t, p)
}

// overServer sets up what a script sees that runs over a server.
func overServer(e *testscript.Env) error {
	if err := emptyHome(e); err != nil {
		return err
	}
	s, err := startServe(e.Vars, e.WorkDir)
	if err != nil {
		return err
	}
	e.Defer(func() { s.stop() })
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e.Defer(func() { door.Close() })
	go forward(door, s.socket)
	e.Setenv("TOKENCTL_SERVER", "http://"+door.Addr().String())
	return nil
}

// forward hands every connection on to a local socket.
func forward(from net.Listener, socket string) {
	for {
		in, err := from.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("unix", socket)
			if err != nil {
				return
			}
			defer out.Close()
			go func() {
				io.Copy(out, in)
				out.(*net.UnixConn).CloseWrite()
			}()
			io.Copy(in, out)
		}()
	}
}

// served is a tokenctl serve that runs.
type served struct {
	cmd         *exec.Cmd
	url, socket string
	ended       chan error

	mu  sync.Mutex
	log bytes.Buffer
}

// startServe starts tokenctl serve and waits until it listens.
func startServe(env []string, dir string, args ...string) (*served, error) {
	s := &served{ended: make(chan error, 1)}
	s.cmd = exec.Command("tokenctl", append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	s.cmd.Dir = dir
	for _, v := range env { // what the script says of the server is not for it
		if !strings.HasPrefix(v, "TOKENCTL_SERVER=") && !strings.HasPrefix(v, "TOKENCTL_TOKEN=") {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go s.watch(stderr, ready)
	select {
	case <-ready:
		return s, nil
	case err := <-s.ended:
		return nil, fmt.Errorf("tokenctl serve has ended: %v\n%s", err, s.text())
	case <-time.After(time.Minute):
		s.stop()
		return nil, fmt.Errorf("tokenctl serve does not listen\n%s", s.text())
	}
}

// watch reads the log. The local socket is opened last.
func (s *served) watch(log io.Reader, ready chan struct{}) {
	for in := bufio.NewScanner(log); in.Scan(); {
		s.mu.Lock()
		s.log.Write(append(in.Bytes(), '\n'))
		s.mu.Unlock()
		var line struct{ Msg, Listener, Address string }
		if json.Unmarshal(in.Bytes(), &line) != nil || line.Msg != "listening" {
			continue
		}
		switch line.Listener {
		case "main":
			s.url = "http://" + line.Address
		case "local":
			s.socket = line.Address
			close(ready)
		}
	}
	s.ended <- s.cmd.Wait()
}

func (s *served) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// stop ends the server as systemd would, and says how it ended.
func (s *served) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		return err
	case <-time.After(time.Minute):
		return errors.Join(errors.New("it does not end"), s.cmd.Process.Kill())
	}
}

// servers are those that scripts have started.
var servers sync.Map // by *testscript.TestScript

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serve [ARG…]")
	}
	var env []string
	for _, name := range []string{"HOME", "PATH", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	s, err := startServe(env, ts.MkAbs("."), args...)
	ts.Check(err)
	servers.Store(ts, s)
	ts.Defer(func() {
		if left, running := servers.LoadAndDelete(ts); running {
			left.(*served).stop()
		}
	})
	url := s.url
	if strings.Contains(strings.Join(args, " "), "--tls-cert") {
		url = strings.Replace(url, "http:", "https:", 1)
	}
	ts.Setenv("SERVER", url)
}

func scriptUnserve(ts *testscript.TestScript, neg bool, args []string) {
	s, running := servers.LoadAndDelete(ts)
	if neg || len(args) > 0 || !running {
		ts.Fatalf("usage: unserve, after serve")
	}
	if err := s.(*served).stop(); err != nil {
		ts.Fatalf("tokenctl serve: %v\n%s", err, s.(*served).text())
	}
}

// scriptCertify makes NAME.crt and NAME.key of a server on this machine.
func scriptCertify(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: certify NAME")
	}
	public, private, err := ed25519.GenerateKey(nil)
	ts.Check(err)
	is := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: args[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(nil, is, is, public, private)
	ts.Check(err)
	key, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{
		args[0] + ".crt": {Type: "CERTIFICATE", Bytes: certificate}, args[0] + ".key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(block), 0o600))
	}
}
