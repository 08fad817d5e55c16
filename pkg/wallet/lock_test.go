package wallet_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/pkg/wallet"
)

// asChild is set in the environment of a process of its own, which does what
// children says to its arguments.
const asChild = "TOKENCTL_TEST_CHILD"

var children = map[string]func(folder, name string){"hold": holdForEver, "add": addForEver, "add some": addSome}

// holdForEver is in the middle of a change of the contexts.
func holdForEver(folder, name string) {
	path := filepath.Join(folder, "contexts.yaml")
	if _, err := hold(path + ".lock"); err != nil {
		fmt.Println(err)
		return
	}
	if err := os.WriteFile(path+".new", []byte("contexts:\n  - na"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(name)
	time.Sleep(time.Hour)
}

// addForEver adds contexts and tells their names when they are there.
func addForEver(folder, name string) { addAll(folder, name, 1<<30) }

func addSome(folder, name string) { addAll(folder, name, 5) }

func addAll(folder, name string, n int) {
	w := wallet.New(wallet.Options{Folder: folder})
	for i := range n {
		c := prod(fmt.Sprint(name, "-", i))
		if _, err := w.Add(context.Background(), c, secret.FromText("of "+c.Name)); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(c.Name)
	}
}

// hold locks a file, as a process does that changes the one it belongs to.
func hold(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return f, privatefile.Lock(context.Background(), f)
}

// child is a process that does something of children, and what it says.
func child(t *testing.T, what, folder, name string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], folder, name)
	c.Env = append(os.Environ(), asChild+"="+what)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	return c, bufio.NewScanner(out)
}

// atOnce adds a context, and does not wait for anybody to do it.
func atOnce(t *testing.T, folder, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := open(t, folder, nil).Add(ctx, prod(name), secret.FromText("of "+name)); err != nil {
		t.Errorf("adding %s: %v", name, err)
	}
}

// has sees to it that contexts are there, each with its own credential, and no
// rest of a change.
func has(t *testing.T, folder string, names []string) {
	t.Helper()
	w := open(t, folder, nil)
	for _, name := range names {
		if c, err := w.Context(name); err != nil || c != withLogin(prod(name), c) {
			t.Errorf("%s is %+v, %v", name, c, err)
		} else if got := credential(t, w, name); got != "of "+name {
			t.Errorf("%s has the credential %q", name, got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*.new")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func withLogin(c, of wallet.Context) wallet.Context {
	c.Login = of.Login
	return c
}

// A process that is killed in the middle of a change keeps nobody waiting.
func TestKilledWithLock(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	c, says := child(t, "hold", folder, "locked")
	if says.Scan(); says.Text() != "locked" {
		t.Fatalf("it says %q", says.Text())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := open(t, folder, nil).Add(ctx, prod("early"), secret.Secret{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it lives: %v", err)
	}
	must(t, c.Process.Kill())
	c.Wait()
	if _, err := os.Lstat(filepath.Join(folder, "contexts.yaml.new")); err != nil {
		t.Errorf("it should have left something: %v", err)
	}
	atOnce(t, folder, "next")
	has(t, folder, []string{"next"})
}

// The same at any moment, again and again: what was told is there.
func TestKilledAnyMoment(t *testing.T) {
	t.Parallel()
	folder, names, rests := t.TempDir(), []string{}, 0
	for round := range 25 {
		c, says := child(t, "add", folder, fmt.Sprint("r", round))
		for says.Scan() {
			if !strings.HasPrefix(says.Text(), fmt.Sprint("r", round, "-")) {
				t.Fatalf("round %d: %s", round, says.Text())
			}
			if names = append(names, says.Text()); strings.HasSuffix(says.Text(), "-0") {
				time.AfterFunc(rand.N(15*time.Millisecond), func() { c.Process.Kill() })
			}
		}
		c.Wait()
		if left, _ := filepath.Glob(filepath.Join(folder, "*.new")); len(left) > 0 {
			rests++
		}
	}
	t.Logf("%d contexts, and rests of %d changes", len(names), rests)
	atOnce(t, folder, "last")
	has(t, folder, append(names, "last"))
}

// Many processes at once lose nothing of each other.
func TestProcessesTogether(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var all sync.WaitGroup
	var names []string
	for i := range 8 {
		for k := range 5 {
			names = append(names, fmt.Sprint("p", i, "-", k))
		}
		all.Go(func() {
			c := exec.CommandContext(t.Context(), os.Args[0], folder, fmt.Sprint("p", i))
			c.Env = append(os.Environ(), asChild+"=add some")
			if out, err := c.CombinedOutput(); err != nil || strings.Count(string(out), "\n") != 5 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	has(t, folder, names)
	if list, _, err := open(t, folder, nil).Contexts(); len(list) != len(names) || err != nil {
		t.Errorf("there are %d contexts, %v", len(list), err)
	}
}

// What stands where the next version of a file goes is removed, whatever it is,
// and never written to.
func TestLeftOver(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.WriteFile(other, []byte("mine"), 0o600))
	for what, put := range map[string]func(path string) error{
		"empty":    func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"longer":   func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x", 5000)), 0o600) },
		"open":     func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Chmod(p, 0o666)) },
		"link":     func(p string) error { return os.Link(other, p) },
		"symlink":  func(p string) error { return os.Symlink(other, p) },
		"dangling": func(p string) error { return os.Symlink(other+"-none", p) },
	} {
		t.Run(what, func(t *testing.T) {
			folder := t.TempDir()
			must(t, put(filepath.Join(folder, "contexts.yaml.new")))
			atOnce(t, folder, "a")
			has(t, folder, []string{"a"})
			info, err := os.Lstat(filepath.Join(folder, "contexts.yaml"))
			must(t, err)
			if runtime.GOOS != "windows" && info.Mode() != 0o600 {
				t.Errorf("the file has mode %v", info.Mode())
			}
		})
	}
	if text, err := os.ReadFile(other); string(text) != "mine" || err != nil {
		t.Errorf("the other file has %q, %v", text, err)
	}
	if _, err := os.Lstat(other + "-none"); err == nil {
		t.Error("a link was followed")
	}
}

// Whoever has waited for a lock that was removed meanwhile takes the one that
// those take who come later.
func TestRemovedLock(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "contexts.yaml.lock")
	f, err := hold(path)
	must(t, err)
	done := make(chan error)
	go func() {
		_, err := open(t, folder, nil).Add(context.Background(), prod("a"), secret.Secret{})
		done <- err
	}()
	time.Sleep(200 * time.Millisecond)
	must(t, os.Remove(path))
	later, err := hold(path)
	must(t, err)
	must(t, f.Close())
	select {
	case err := <-done:
		t.Errorf("it was content with a lock that is not there: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	must(t, os.Remove(path))
	must(t, later.Close())
	must(t, <-done)
}

// Who gives up leaves no lock behind, not even in the same process.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	w := open(t, folder, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = w.Add(ctx, prod("a"), secret.Secret{})
	_, err := w.Add(t.Context(), prod("b"), secret.Secret{})
	must(t, err)
	if left, _ := filepath.Glob(filepath.Join(folder, "*.lock")); len(left) > 0 && runtime.GOOS != "windows" {
		t.Errorf("left behind: %v", left)
	}
}

// Who holds a lock for long is alive: the message sends nobody to remove files.
func TestHeldForLong(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "contexts.yaml.lock")
	f, err := hold(path)
	must(t, err)
	defer f.Close()
	_, err = open(t, folder, nil).Add(t.Context(), prod("a"), secret.Secret{})
	var e *token.Error
	if !errors.As(err, &e) || e.Kind != token.ErrCannotTell || !strings.Contains(e.Message, path) || !strings.Contains(e.Hint, "try again") {
		t.Errorf("the error is %v", err)
	}
}
