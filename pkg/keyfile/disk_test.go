package keyfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/secret"
)

func create(t testing.TB) (k *keyfile.Keys, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys")
	k, err := keyfile.Create(path, start)
	if err != nil {
		t.Fatal(err)
	}
	return k, path
}

func open(t testing.TB, path string) *keyfile.Keys {
	t.Helper()
	k, err := keyfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// same fails the test unless both have the same keys.
func same(t testing.TB, a, b *keyfile.Keys) {
	t.Helper()
	if !slices.Equal(a.Numbers(), b.Numbers()) {
		t.Fatalf("%v and %v", a.Numbers(), b.Numbers())
	}
	for _, key := range a.Numbers() {
		if !bytes.Equal(a.Fingerprint(key.Number), b.Fingerprint(key.Number)) {
			t.Errorf("key %d differs", key.Number)
		}
	}
}

// alone fails the test unless path is all that is in its folder.
func alone(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("in the folder: %v, %v", entries, err)
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "keys")
	k, err := keyfile.Create(path, start)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	shape := regexp.MustCompile(`\A(# .*\n)+tokenctl-keys 1\nkey 1 2026-11-22T07:00:00Z [-_0-9A-Za-z]{43}\nsum [0-9a-f]{8}\n\z`)
	if err != nil || !shape.Match(text) {
		t.Errorf("%s, %v", text, err)
	}
	if k.Path() != path {
		t.Error(k.Path())
	}
	alone(t, path)
	same(t, k, open(t, path))

	again, err := keyfile.Create(path, start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	same(t, k, again)
	alone(t, path)
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, text) {
		t.Errorf("the file has changed: %s, %v", now, err)
	}
}

func TestCreateAtOnce(t *testing.T) {
	for range 10 {
		path := filepath.Join(t.TempDir(), "folder", "keys")
		var wg sync.WaitGroup
		made := make([]*keyfile.Keys, 8)
		for i := range made {
			wg.Go(func() {
				var err error
				if made[i], err = keyfile.Create(path, start); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for _, k := range made {
			same(t, made[0], k)
		}
		alone(t, path)
	}
}

func TestMissing(t *testing.T) {
	folder := t.TempDir()
	for _, path := range []string{filepath.Join(folder, "keys"), filepath.Join(folder, "no", "folder")} {
		_, err := keyfile.Open(path)
		if !errors.Is(err, keyfile.ErrMissing) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open: %v", err)
		}
		var e *keyfile.Error
		if !errors.As(err, &e) || e.Path != path || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "put back your copy") {
			t.Errorf("Open: %v", err)
		}
	}
}

func TestReload(t *testing.T) {
	k, path := create(t)
	reload := func(wantChanged bool, want error) {
		t.Helper()
		if changed, err := k.Reload(); changed != wantChanged || !errors.Is(err, want) {
			t.Errorf("Reload: %v, %v", changed, err)
		}
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reload(false, nil)
	hashing := k.Hashing()
	reload(false, nil)
	if k.Hashing() != hashing {
		t.Error("other keys without a change")
	}
	other := open(t, path)
	for range 2 {
		if _, err := other.Add(start); err != nil {
			t.Fatal(err)
		}
	}
	reload(true, nil)
	same(t, k, other)
	reload(false, nil)
	if err := other.Drop(1); err != nil {
		t.Fatal(err)
	}
	reload(true, nil)
	same(t, k, other)

	// From here on the file is not ours, and the keys stay.
	_, foreign := create(t)
	foreignText, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		text []byte
		want error
	}{
		{first, keyfile.ErrForeign}, // an older copy
		{foreignText, keyfile.ErrForeign},
		{[]byte("garbage"), keyfile.ErrGarbled},
		{nil, keyfile.ErrMissing},
	} {
		if err := os.WriteFile(path, bad.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if bad.text == nil {
			os.Remove(path)
		}
		reload(false, bad.want)
		if _, err := k.Add(start); !errors.Is(err, bad.want) {
			t.Errorf("Add: %v", err)
		}
		if err := k.Drop(2); !errors.Is(err, bad.want) {
			t.Errorf("Drop: %v", err)
		}
		same(t, k, other)
	}
}

// TestForeign puts another database's file in the place of ours.
func TestForeign(t *testing.T) {
	k, path := create(t)
	print := k.Fingerprint(1)
	if err := os.WriteFile(path, []byte(golden), 0o600); err != nil { // its key 1 is another
		t.Fatal(err)
	}
	if changed, err := k.Reload(); changed || !errors.Is(err, keyfile.ErrForeign) || !strings.Contains(err.Error(), path) {
		t.Errorf("Reload: %v, %v", changed, err)
	}
	if !bytes.Equal(k.Fingerprint(1), print) {
		t.Error("its keys were taken")
	}
}

func TestAdd(t *testing.T) {
	k, path := create(t)
	other := open(t, path)
	if number, err := k.Add(start.Add(time.Hour)); number != 2 || err != nil {
		t.Fatalf("Add: %d, %v", number, err)
	}
	same(t, k, open(t, path))
	// The other has not read the file since, and must not lose key 2.
	if number, err := other.Add(start.Add(2 * time.Hour)); number != 3 || err != nil {
		t.Fatalf("Add: %d, %v", number, err)
	}
	same(t, other, open(t, path))
	if got := other.Numbers(); len(got) != 3 || got[1].CreatedAt != start.Add(time.Hour) || !got[2].Current || got[1].Current {
		t.Errorf("Numbers: %v", got)
	}
	// k drops a key that it has not seen yet.
	if err := k.Drop(2); err != nil {
		t.Fatal(err)
	}
	same(t, k, open(t, path))
	alone(t, path)
}

func TestWhatCannotBeReadIsNotWritten(t *testing.T) {
	k, path := create(t)
	if _, err := k.Add(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)); !errors.Is(err, keyfile.ErrNotWritten) {
		t.Errorf("Add: %v", err)
	}
	same(t, k, open(t, path))
	alone(t, path)
}

// Nor is a file so large that nobody would read it.
func TestTooLargeIsNotWritten(t *testing.T) {
	_, path := create(t)
	many, err := keyfile.FullFile(start)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, many, 0o600); err != nil {
		t.Fatal(err)
	}
	k := open(t, path)
	before := len(k.Numbers())
	for range 3 {
		if _, err = k.Add(start); err != nil {
			break
		}
		before++
	}
	if !errors.Is(err, keyfile.ErrNotWritten) || !strings.Contains(err.Error(), "would be over") {
		t.Errorf("Add: %v", err)
	}
	if got := open(t, path).Numbers(); len(got) != before {
		t.Errorf("%d keys, there should be %d", len(got), before)
	}
}

func TestAddAtOnce(t *testing.T) {
	add := func(keys ...*keyfile.Keys) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[uint32]bool{}
		for _, k := range keys {
			wg.Go(func() {
				for range 3 {
					number, err := k.Add(start)
					mu.Lock()
					if err != nil || seen[number] {
						t.Errorf("Add: %d, %v", number, err)
					}
					seen[number] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	k, path := create(t)
	add(k, k, k, open(t, path), open(t, path), open(t, path))
	if got := open(t, path).Numbers(); len(got) != 19 || got[18].Number != 19 {
		t.Errorf("Numbers: %v", got)
	}
	alone(t, path)
	for range 20 { // in memory there is no lock file that would help
		k := keyfile.New(start)
		add(k, k, k, k)
		if got := k.Numbers(); len(got) != 13 {
			t.Fatalf("Numbers: %v", got)
		}
	}
}

func TestLock(t *testing.T) {
	k, path := create(t)
	other, err := privatefile.Begin(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Add(start); !errors.Is(err, keyfile.ErrLocked) || !strings.Contains(err.Error(), path+".lock") {
		t.Errorf("Add: %v", err)
	}
	same(t, k, open(t, path))

	// It is waited for.
	done := make(chan error)
	go func() {
		_, err := k.Add(start)
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	other.End()
	if err := <-done; err != nil {
		t.Errorf("Add: %v", err)
	}
	alone(t, path)
}

// What a process that was killed has left is in nobody's way.
func TestLeftBehind(t *testing.T) {
	k, path := create(t)
	for _, left := range []string{".lock", ".new"} {
		if err := os.WriteFile(path+left, []byte("half a"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Add(start); err != nil {
		t.Errorf("Add: %v", err)
	}
	same(t, k, open(t, path))
	alone(t, path)
}

// TestHasherFollowsTheFile is what two processes on one database do.
func TestHasherFollowsTheFile(t *testing.T) {
	mine, path := create(t)
	other := open(t, path)
	h := secret.NewHasher(mine.Hashing(), secret.HasherOptions{})
	use, s := secret.Use{Kind: "user"}, secret.New(secret.Passcode, secret.NewID(start))
	if _, err := other.Add(start); err != nil {
		t.Fatal(err)
	}
	v := secret.NewHasher(other.Hashing(), secret.HasherOptions{}).Fast(use, s)
	if _, err := h.Check(t.Context(), use, s, v); !errors.Is(err, secret.ErrUnknownKey) {
		t.Fatalf("Check: %v", err)
	}
	if changed, err := mine.Reload(); !changed || err != nil {
		t.Fatalf("Reload: %v, %v", changed, err)
	}
	h.SetKeys(mine.Hashing())
	if got, err := h.Check(t.Context(), use, s, v); err != nil || got != (secret.Result{OK: true}) {
		t.Errorf("Check: %+v, %v", got, err)
	}
}

func Example() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	k, err := keyfile.Create(filepath.Join(folder, "keys"), start)
	if err != nil {
		panic(err)
	}
	sealed := k.Seal("signing key", []byte("private"), []byte("kid 1"))
	number, err := k.Add(start)
	fmt.Println(number, err)
	plain, err := k.Unseal("signing key", sealed, []byte("kid 1"))
	fmt.Println(string(plain), err)
	_, err = k.Unseal("signing key", sealed, []byte("kid 2"))
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// private <nil>
	// sealed text cannot be opened: it was changed, or sealed for something else
}
