package wallet_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/pkg/wallet"
	"github.com/tokenctl/tokenctl/testdata/needs"
)

// inKeyring is set in the environment of the process that has a keyring.
const inKeyring = "TOKENCTL_TEST_KEYRING"

// place is where credentials have to be.
func place() string {
	if os.Getenv(inKeyring) != "" {
		return wallet.InKeyring
	}
	return wallet.InFile
}

// TestMain sees to it that no test comes to the keyring of whoever runs it.
func TestMain(m *testing.M) {
	if do := children[os.Getenv(asChild)]; do != nil {
		os.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
		do(os.Args[1], os.Args[2])
		return
	}
	if place() == wallet.InFile {
		os.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	}
	os.Exit(m.Run())
}

// TestWithKeyring runs all tests of the wallet once more, where a real keyring
// answers.
func TestWithKeyring(t *testing.T) {
	session, daemon := needs.Program(t, "dbus-run-session"), needs.Program(t, "gnome-keyring-daemon")
	if place() == wallet.InKeyring {
		return
	}
	dir := t.TempDir()
	// The daemon says that it is ready by ending its first process.
	c := exec.CommandContext(t.Context(), session, "--", "/bin/sh", "-c",
		`printf 'pw\n' | "$1" --unlock --components=secrets >/dev/null 2>&1; exec "$2" -test.run '^TestWallet' -test.v`, "sh", daemon, os.Args[0])
	c.Env = append(os.Environ(), inKeyring+"=1", "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "XDG_DATA_HOME="+dir)
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWalletCredentials") {
		t.Errorf("with a keyring: %v\n%s", err, out)
	}
}

func open(t *testing.T, folder string, note func(string)) *wallet.Wallet {
	t.Helper()
	return wallet.New(wallet.Options{Folder: folder, Note: note})
}

func prod(name string) wallet.Context {
	return wallet.Context{Name: name, Server: "https://" + name + ".example.org", CAFile: "/etc/ca.pem"}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func credential(t *testing.T, w *wallet.Wallet, name string) string {
	t.Helper()
	c, err := w.Context(name)
	must(t, err)
	s, err := w.Credential(t.Context(), c)
	must(t, err)
	return s.Reveal()
}

func TestWalletContexts(t *testing.T) {
	ctx, folder := t.Context(), filepath.Join(t.TempDir(), "new", "tokenctl")
	w := open(t, folder, nil)
	list, current, err := w.Contexts()
	if len(list) != 0 || current != "" || err != nil {
		t.Errorf("a new wallet has %v, %q, %v", list, current, err)
	}
	lab := wallet.Context{Name: "lab", Store: "bolt:///srv/tokens.db"}
	for i, c := range []wallet.Context{prod("prod"), lab} {
		isCurrent, err := w.Add(ctx, c, secret.Secret{})
		must(t, err)
		if isCurrent != (i == 0) {
			t.Errorf("%s is current: %v", c.Name, isCurrent)
		}
	}
	w = open(t, folder, nil) // it is on the disk
	list, current, err = w.Contexts()
	must(t, err)
	if diff := cmp.Diff([]wallet.Context{prod("prod"), lab}, list); diff != "" || current != "prod" {
		t.Errorf("current %q, -want +got:\n%s", current, diff)
	}
	must(t, w.Use(ctx, "lab"))
	must(t, w.Remove(ctx, "prod"))
	if list, current, _ := w.Contexts(); len(list) != 1 || current != "lab" {
		t.Errorf("%v, current %q", list, current)
	}
	must(t, w.Remove(ctx, "lab"))
	if list, current, _ := w.Contexts(); len(list) != 0 || current != "" {
		t.Errorf("%v, current %q", list, current)
	}
}

func TestWalletRefuses(t *testing.T) {
	ctx := t.Context()
	w := open(t, t.TempDir(), nil)
	_, err := w.Add(ctx, prod("prod"), secret.FromText("one"))
	must(t, err)
	_, taken := w.Add(ctx, prod("prod"), secret.FromText("two"))
	_, noName := w.Add(ctx, prod("a b"), secret.Secret{})
	_, neither := w.Add(ctx, wallet.Context{Name: "x"}, secret.Secret{})
	_, both := w.Add(ctx, wallet.Context{Name: "x", Server: "https://x", Store: "bolt:///x"}, secret.Secret{})
	_, unknown := w.Context("nope")
	for _, c := range []struct{ err, want error }{
		{taken, token.ErrConflict}, {noName, token.ErrUsage}, {neither, token.ErrUsage}, {both, token.ErrUsage},
		{unknown, token.ErrNotFound}, {w.Use(ctx, "nope"), token.ErrNotFound}, {w.Remove(ctx, "nope"), token.ErrNotFound},
		{w.SetCredential(ctx, "nope", secret.FromText("x")), token.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v is not %v", c.err, c.want)
		}
	}
	if got := credential(t, w, "prod"); got != "one" {
		t.Errorf("the credential is %q", got)
	}
	if list, current, err := w.Contexts(); len(list) != 1 || current != "prod" || err != nil {
		t.Errorf("left are %v, current %q, %v", list, current, err)
	}
}

func TestWalletCredentials(t *testing.T) {
	ctx, folder := t.Context(), t.TempDir()
	var notes []string
	note := func(s string) { notes = append(notes, s) }
	w := open(t, folder, note)
	long := strings.Repeat("eyJ", 1300) // as long as a JWT with many claims
	for name, text := range map[string]string{"a": "1k7q9v2mabcd3fgh:tkp_secret", "b": long, "none": ""} {
		_, err := w.Add(ctx, prod(name), secret.FromText(text))
		must(t, err)
	}
	must(t, w.SetCredential(ctx, "a", secret.FromText("changed")))
	w = open(t, folder, note)
	got := []string{credential(t, w, "a"), credential(t, w, "b"), credential(t, w, "none")}
	if diff := cmp.Diff([]string{"changed", long, ""}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	a, err := w.Context("a")
	must(t, err)
	if a.Login.Place() != place() {
		t.Errorf("the credential is %s, not in the %s", a.Login, place())
	}
	switch place() {
	case wallet.InFile:
		if len(notes) != 1 || !strings.Contains(notes[0], filepath.Join(folder, "credentials.yaml")) {
			t.Errorf("what was said of the missing keyring: %q", notes)
		}
	default:
		if _, err := os.Lstat(filepath.Join(folder, "credentials.yaml")); err == nil || len(notes) > 0 {
			t.Errorf("with a keyring there is a file too, and was said: %q", notes)
		}
	}

	// A context that takes over the name of another gets none of its credential.
	must(t, w.Remove(ctx, "a"))
	_, err = w.Add(ctx, prod("a"), secret.Secret{})
	must(t, err)
	if got := credential(t, w, "a"); got != "" {
		t.Errorf("the new context has the old credential")
	}
	if s, err := w.Credential(ctx, a); err == nil || !s.IsZero() || !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("a removed credential is still there: %v", err)
	}
	must(t, w.Remove(ctx, "b"))
	for _, name := range []string{"contexts.yaml", "credentials.yaml"} {
		text, _ := os.ReadFile(filepath.Join(folder, name))
		if strings.Contains(string(text), "changed") || strings.Contains(string(text), long) {
			t.Errorf("%s holds what was removed:\n%s", name, text)
		}
	}
}

func TestWalletFilesAreOurs(t *testing.T) {
	ctx, folder := t.Context(), t.TempDir()
	w := open(t, folder, nil)
	_, err := w.Add(ctx, prod("prod"), secret.FromText("hidden"))
	must(t, err)
	entries, err := os.ReadDir(folder)
	must(t, err)
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	path := filepath.Join(folder, "contexts.yaml")
	refused := func(want, hint string) {
		t.Helper()
		_, _, err := w.Contexts()
		var e *token.Error
		if !errors.As(err, &e) || e.Kind != token.ErrUsage || !strings.Contains(e.Message, want) || !strings.Contains(e.Hint, hint) {
			t.Errorf("reading says %v", err)
		}
		if err := w.Use(ctx, "prod"); err == nil {
			t.Error("a change goes through")
		}
	}
	must(t, os.Chmod(path, 0o640))
	refused(path+": others can get at it", "chmod 600 "+path)
	must(t, os.Chmod(path, 0o600))
	must(t, os.Chmod(folder, 0o770))
	refused("others can replace", "chmod 700 "+folder)
	must(t, os.Chmod(folder, 0o700))
	must(t, os.WriteFile(path, []byte("contexts:\n  - name: a\n    sever: x\n"), 0o600))
	refused("line 3", "mend it")
	must(t, os.WriteFile(path, []byte("current: b\ncontexts: []\n"), 0o600))
	refused(`"b" is none`, "mend it")
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	refused("not a regular file", "")
}

// What is wrong with the file of credentials is told without its text.
func TestWalletKeepsQuiet(t *testing.T) {
	if place() == wallet.InKeyring {
		return
	}
	folder := t.TempDir()
	w := open(t, folder, nil)
	_, err := w.Add(t.Context(), prod("prod"), secret.FromText("hidden"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(folder, "credentials.yaml"), []byte("credentials:\n  - name: a\n    hidden: x\n  - hidden\n"), 0o600))
	c, err := w.Context("prod")
	must(t, err)
	_, err = w.Credential(t.Context(), c)
	if err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("the error is %v", err)
	}
}

// A change that nobody could read again is not made.
func TestWalletTooLarge(t *testing.T) {
	folder := t.TempDir()
	w := open(t, folder, nil)
	_, err := w.Add(t.Context(), prod("a"), secret.Secret{})
	must(t, err)
	large := prod("b")
	large.Server += "/" + strings.Repeat("x", 1<<20)
	var e *token.Error
	if _, err := w.Add(t.Context(), large, secret.Secret{}); !errors.As(err, &e) || e.Kind != token.ErrUsage || !strings.Contains(e.Message, "would have over") {
		t.Errorf("a large one: %v", err)
	}
	if list, _, err := w.Contexts(); len(list) != 1 || err != nil {
		t.Errorf("there are %d, %v", len(list), err)
	}
}

// A link to what is not there, since its folder is not mounted, say, stays.
func TestWalletDanglingLink(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "contexts.yaml")
	must(t, os.Symlink(filepath.Join(folder, "none", "contexts.yaml"), path))
	if _, err := open(t, folder, nil).Add(t.Context(), prod("a"), secret.Secret{}); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("it says %v", err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
}

func TestWalletTogether(t *testing.T) {
	folder := t.TempDir()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			name := fmt.Sprint("c", i)
			if _, err := open(t, folder, nil).Add(t.Context(), prod(name), secret.FromText("of "+name)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w := open(t, folder, nil)
	list, current, err := w.Contexts()
	must(t, err)
	if len(list) != 20 || current != list[0].Name {
		t.Errorf("%d contexts, current %q", len(list), current)
	}
	for _, c := range list {
		if got := credential(t, w, c.Name); got != "of "+c.Name {
			t.Errorf("%s has the credential %q", c.Name, got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*.new")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// A keyring that takes the question and never answers is no keyring.
func TestSilentKeyring(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "bus"))
	must(t, err)
	defer l.Close()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(dir, "bus"))
	w := open(t, dir, nil)
	_, err = w.Add(t.Context(), prod("prod"), secret.FromText("one"))
	must(t, err)
	if c, _ := w.Context("prod"); c.Login.Place() != wallet.InFile {
		t.Errorf("the credential is %s", c.Login)
	}
}
