//go:build linux

package cmd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long the tests wait for what must happen; nothing is ever
// asserted to be faster.
const patience = 60 * time.Second

// The hostile tests run tokenctl as a process of its own, as it is shipped:
// only so a crash, a hang or a leak into /proc is the program's and not the
// test's. The program lies beside the test program, which go test removes.
var buildBinary = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "tokenctl-hostile", "tokenctl")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/tokenctl/tokenctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t testing.TB) string {
	t.Helper()
	path, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// machine is a home folder in which tokenctl is run.
type machine struct {
	t       testing.TB
	home    string
	program string
	env     []string            // besides HOME and PATH
	as      *syscall.Credential // nil: whoever runs the tests
	wrap    []string            // a command that runs the program, such as strace
}

func newMachine(t testing.TB, env ...string) *machine {
	t.Helper()
	return &machine{t: t, home: t.TempDir(), program: binary(t), env: env}
}

func (m *machine) folder() string { return filepath.Join(m.home, ".local", "share", "tokenctl") }
func (m *machine) db() string     { return filepath.Join(m.folder(), "tokens.db") }
func (m *machine) key() string    { return filepath.Join(m.folder(), "tokens.key") }

func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(slices.Clone(m.wrap), append([]string{m.program}, args...)...)
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env = append([]string{"HOME=" + m.home, "PATH=" + os.Getenv("PATH")}, m.env...)
	c.WaitDelay = patience
	if m.as != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: m.as}
	}
	return c
}

// result is how a process ended.
type result struct {
	args     []string
	code     int // -1: by a signal
	out, err string
}

func (r result) String() string {
	return fmt.Sprintf("tokenctl %s: exit %d\nstdout: %.600s\nstderr: %.600s", strings.Join(r.args, " "), r.code, r.out, r.err)
}

// run gives a process all it asks for and waits for its end.
func (m *machine) run(stdin string, args ...string) result {
	m.t.Helper()
	return m.runWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader(stdin) }, args...)
}

// runWith is run, with a process that is not quite like others.
func (m *machine) runWith(change func(*exec.Cmd), args ...string) result {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := m.command(ctx, args...)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	change(c)
	err := c.Run()
	r := result{args, c.ProcessState.ExitCode(), out.String(), stderr.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		m.t.Fatalf("it hangs: %v", r)
	case err != nil && !errors.As(err, &exit):
		m.t.Fatalf("%v: %v", err, r)
	}
	if wrong := badEnd(r); wrong != "" {
		m.t.Errorf("%s: %v", wrong, r)
	}
	return r
}

// badEnd says what no process may do, whatever was done to it.
func badEnd(r result) string {
	switch {
	case !slices.Contains([]int{0, 1, 2, 3, 4, 5, 6, 7, 130}, r.code):
		return "an exit code that is not promised"
	case strings.Contains(r.err, "panic") || strings.Contains(r.err, "goroutine ") || strings.Contains(r.err, "bug in tokenctl"):
		return "a panic"
	case r.code == 3 && strings.Contains(r.out, "valid"), r.code == 7, strings.HasPrefix(r.err, "{"):
		return "" // the answer says it, or a table stands before the message
	case r.code != 0 && strings.TrimSpace(r.err) == "":
		return "a failure without a message"
	}
	for line := range strings.Lines(r.err) {
		if !strings.HasPrefix(line, "tokenctl: ") && !strings.HasPrefix(line, "hint: ") && r.code != 0 {
			return fmt.Sprintf("the line %q", line)
		}
	}
	return ""
}

// must is run for what has to work; it returns stdout without its last line end.
func (m *machine) must(stdin string, args ...string) string {
	m.t.Helper()
	r := m.run(stdin, args...)
	if r.code != 0 {
		m.t.Fatal(r)
	}
	return strings.TrimSuffix(r.out, "\n")
}

// ends checks exit code and message of a process.
func (m *machine) ends(r result, code int, stderr ...string) {
	m.t.Helper()
	if r.code != code {
		m.t.Errorf("exit %d, not %d: %v", r.code, code, r)
	}
	for _, want := range stderr {
		if !strings.Contains(r.err, want) {
			m.t.Errorf("stderr does not tell %q: %v", want, r)
		}
	}
}

// state is everything below a folder: kind, mode and content by name.
func state(t testing.TB, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += " " + string(text)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " " + target
		}
		found[path] = what
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

// untouched fails if anything below the folder is not as it was before.
func untouched(t testing.TB, folder string, before map[string]string) {
	t.Helper()
	after := state(t, folder)
	for name := range before {
		if after[name] != before[name] {
			t.Errorf("%s was changed", name)
		}
	}
	for name := range maps.Keys(after) {
		if _, there := before[name]; !there {
			t.Errorf("%s was made", name)
		}
	}
}

// seed is a small store with everything in it, as a first machine left it.
type seed struct {
	db, key               []byte
	pair, refresh         string // good
	id                    string // of the refresh token
	revoked, deleted, jwt string // jwt is of a revoked token
	suspended             string
}

var (
	seedOnce sync.Once
	theSeed  seed
)

// seeded is a new machine with a copy of the same store.
func seeded(t testing.TB, env ...string) (*machine, seed) {
	t.Helper()
	seedOnce.Do(func() {
		m := newMachine(t)
		s := seed{pair: m.must("", "generate")}
		s.refresh = m.must("", "generate", "refresh", "ci", "--role", "reader", "--role", "writer")
		s.id = s.refresh[4:20]
		s.revoked = m.must("", "generate", "refresh", "old")
		s.jwt = m.must(s.revoked, "exchange")
		m.must("", "revoke", "old", "--reason", "for the test")
		s.deleted = m.must("", "generate", "refresh", "gone")
		m.must("", "delete", "gone")
		s.suspended = m.must("", "generate", "refresh", "asleep")
		m.must("", "suspend", "asleep")
		m.must("", "admin", "user", "add", "alice", "--display-name", "Alice A.")
		var err error
		if s.db, err = os.ReadFile(m.db()); err != nil {
			t.Fatal(err)
		}
		if s.key, err = os.ReadFile(m.key()); err != nil {
			t.Fatal(err)
		}
		theSeed = s
	})
	if theSeed.db == nil {
		t.Fatal("the store that the test begins with could not be made")
	}
	m := newMachine(t, env...)
	put(t, m.db(), theSeed.db)
	put(t, m.key(), theSeed.key)
	return m, theSeed
}

// put writes a file of mode 0600, and folders of mode 0700 above it.
func put(t testing.TB, path string, content []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
