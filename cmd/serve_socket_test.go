//go:build linux

package cmd_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

func (m *machine) socket() string { return m.db() + ".sock" }

// Local commands go on working while serve has the file, and what they change
// counts there at once.
func TestServeLocalCommands(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t)
	s := m.serve()
	if info, err := os.Lstat(m.socket()); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	fresh := m.must("", "generate", "refresh", "fresh", "--role", "reader")
	m.must(fresh, "verify")
	m.must(fresh, "exchange")
	m.must("", "admin", "check", "--deep")
	if got := m.must("", "admin", "audit", "list", "--action", "token.generate", "--last", "1", "-o", "json", "--jq", ".[0].via"); got != fmt.Sprintf("uid %d", os.Getuid()) {
		t.Errorf("the audit log has %q", got)
	}
	pair := seed.pair
	if status, _, _ := s.ask("GET", "/verify", pair); status != 200 {
		t.Errorf("status %d before", status)
	}
	m.must("", "revoke", "--kind", "user", "--yes")
	if status, _, _ := s.ask("GET", "/verify", pair); status != 401 {
		t.Errorf("status %d after revoke", status)
	}

	// A second serve cannot have the file.
	m.ends(m.run("", "serve", "--listen", "127.0.0.1:0", "--timeout", "300ms"), 6, fmt.Sprintf("in use by tokenctl (pid %d)", s.process.Pid), "hint: ")
	m.must(fresh, "verify") // and has not taken the socket away
	s.stop()
	if _, err := os.Lstat(m.socket()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	m.must(fresh, "verify")
	m.ends(m.run(pair, "verify"), 3)
}

// On a new machine serve makes the store, as generate would.
func TestServeBeginsStore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	s := m.serve()
	pair := m.must("", "generate")
	if status, _, _ := s.ask("GET", "/verify", pair); status != 200 {
		t.Errorf("status %d", status)
	}
	s.stop()
	m.must(pair, "verify")
	m.must("", "admin", "check", "--deep")
}

// After kill -9 the socket is still there, and nobody answers: local commands
// take the file, and the next serve takes the socket.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t)
	s := m.serve()
	fresh := m.must("", "generate", "refresh", "fresh")
	s.kill()
	if _, err := os.Lstat(m.socket()); err != nil {
		t.Fatal(err)
	}
	m.must(fresh, "verify")
	second := m.must("", "generate", "refresh", "second")
	m.must("", "admin", "check", "--deep")

	s = m.serve()
	m.must(second, "verify")
	if status, _, _ := s.ask("GET", "/verify", seed.pair); status != 200 {
		t.Errorf("status %d", status)
	}
	s.stop()

	// What is no socket is nobody's to remove.
	put(t, m.socket(), []byte("precious"))
	m.ends(m.run("", "serve", "--listen", "127.0.0.1:0"), 6, "in the way")
	if text, err := os.ReadFile(m.socket()); err != nil || string(text) != "precious" {
		t.Errorf("the file is now %q, %v", text, err)
	}
	m.must(second, "verify")
}

// Where a path is too long for an address, the socket is elsewhere, for the
// owner alone, and is found.
func TestServeLongPath(t *testing.T) {
	t.Parallel()
	runtimeDir, err := os.MkdirTemp("", "tk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(runtimeDir) })
	m := newMachine(t, "XDG_RUNTIME_DIR="+runtimeDir)
	m.home = filepath.Join(m.home, strings.Repeat("long", 20))
	if err := os.Mkdir(m.home, 0o700); err != nil {
		t.Fatal(err)
	}
	s := m.serve()
	pair := m.must("", "generate")
	m.must(pair, "verify")
	if status, _, _ := s.ask("GET", "/verify", pair); status != 200 {
		t.Errorf("status %d", status)
	}
	path := s.log.find(t, "listener", "local")["address"].(string)
	if filepath.Dir(filepath.Dir(path)) != runtimeDir {
		t.Errorf("the socket is %s", path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its folder has mode %v, %v", info.Mode(), err)
	}
	s.stop()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left")
	}
	m.must(pair, "verify")
}

// Nobody but the owner of the file and root gets an answer at the socket, even
// if its mode lets them in.
func TestServeOtherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		needs.Missing(t, "only root can be another user")
	}
	curl, setpriv := needs.Program(t, "curl"), needs.Program(t, "setpriv")
	m, _ := seeded(t)
	stranger(t, m) // uid 65534 owns the store
	for dir := m.folder(); dir != m.home; dir = filepath.Dir(dir) {
		chmod(t, dir, 0o755)
	}
	s := m.serve()
	m.as = nil
	knock := func(uid string) (string, int) {
		c := exec.Command(setpriv, "--reuid="+uid, "--regid="+uid, "--clear-groups", curl, "-sS", "--max-time", "60", "--unix-socket", m.socket(), "http://x/api/v1/whoami")
		text, err := c.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(text), c.ProcessState.ExitCode()
	}
	refused := func() map[string]any { return s.log.find(t, "msg", "refused at the local socket") }
	if text, code := knock("54321"); text != "" || code == 0 || refused() != nil {
		t.Errorf("mode 0600: another user got %q, exit %d, and the log has %v", text, code, refused())
	}
	chmod(t, m.socket(), 0o666)
	if text, code := knock("54321"); text != "" || code == 0 {
		t.Errorf("mode 0666: another user got %q, exit %d", text, code)
	}
	eventually(t, "the log says so", func() bool { return refused() != nil })
	if r := refused(); r["uid"] != 54321.0 {
		t.Errorf("the log has %v", r)
	}
	if text, _ := knock("65534"); !strings.Contains(text, "local/nobody") {
		t.Errorf("the owner got %q", text)
	}
	// Root may ask too, without being able to open the file.
	if got := m.must("", "list", "--all-owners", "-o", "name"); got == "" {
		t.Error("root sees no tokens")
	}
	s.stop()
}

// A socket on which somebody else listens is told nothing.
func TestServeImpostor(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		needs.Missing(t, "only root can be another user")
	}
	m, seed := seeded(t)
	l := listenAs(t, 65534, m.socket())
	defer l.Close()
	var asked, told atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			n, _ := c.Read(make([]byte, 1))
			told.Add(int64(n))
			c.Close()
		}
	}()
	m.must(seed.pair, "verify")
	m.must("", "generate", "refresh", "fresh")
	if asked.Load() == 0 || told.Load() != 0 {
		t.Errorf("%d connections, %d of them said something", asked.Load(), told.Load())
	}
}

// listenAs listens as another user: the system remembers who did, not who made
// the file.
func listenAs(t *testing.T, uid int, path string) net.Listener {
	t.Helper()
	type outcome struct {
		l   net.Listener
		err error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err == nil {
			err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
		}
		if err == nil {
			if _, _, no := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); no != 0 { // of this thread alone
				err = no
			}
		}
		if err == nil {
			err = syscall.Listen(fd, 8)
		}
		if err != nil {
			done <- outcome{nil, err}
			return
		}
		f := os.NewFile(uintptr(fd), path)
		l, err := net.FileListener(f)
		f.Close()
		done <- outcome{l, err}
	}()
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o.l
}

// While serve comes and goes, local commands work, or say who has the file. No
// token that they were given is lost.
func TestServeHandOver(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t, "TOKENCTL_TIMEOUT=10s")
	const commands, servers, workers = 100, 20, 4
	var mu sync.Mutex
	var given []string
	var next, served, ended atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for n := next.Add(1); n <= commands; n = next.Add(1) {
				// Spread over the lives of all servers.
				for ended.Load() < min(n*servers/commands, servers)-1 {
					time.Sleep(time.Millisecond)
				}
				r := m.run("", "generate", "refresh", fmt.Sprint("n", n))
				switch {
				case r.code == 0:
					served.Add(1)
					mu.Lock()
					given = append(given, strings.TrimSpace(r.out))
					mu.Unlock()
				case r.code != 6 || !strings.Contains(r.err, "(pid "):
					t.Error(r)
				}
			}
		})
	}
	for i := range servers {
		s := m.serve()
		if i%4 == 3 {
			s.kill()
		} else {
			s.stop()
		}
		ended.Add(1)
	}
	ended.Add(servers)
	all.Wait()
	t.Logf("%d of %d commands worked", served.Load(), commands)
	if served.Load() < commands/2 {
		t.Errorf("%d of %d commands worked", served.Load(), commands)
	}
	s := m.serve()
	for i, secret := range given {
		if r := m.run(secret, "verify"); r.code != 0 {
			t.Errorf("token %d is lost: %v", i, r)
		}
	}
	s.stop()
	m.must("", "admin", "check", "--deep")
	m.must("", "admin", "audit", "verify")
}
