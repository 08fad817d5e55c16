//go:build unix

package keyfile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/testdata/needs"
)

// TestMain makes of the test binary what the tests start as other processes.
func TestMain(m *testing.M) {
	path := os.Getenv("KEYFILE_TEST_PATH")
	switch os.Getenv("KEYFILE_TEST_DO") {
	case "":
		os.Exit(m.Run())
	case "create":
		k, err := keyfile.Create(path, time.Now())
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Printf("%x\n", k.Fingerprint(1))
	case "add":
		k, err := keyfile.Open(path)
		for err == nil {
			var number uint32
			if number, err = k.Add(time.Now()); err == nil {
				fmt.Println(number)
			}
		}
		fmt.Println(err)
		os.Exit(1)
	case "limits":
		withLimits(path)
	}
}

func child(t *testing.T, do, path string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "KEYFILE_TEST_DO="+do, "KEYFILE_TEST_PATH="+path)
	return c
}

func TestProcessesCreateTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "keys")
	type result struct {
		out string
		err error
	}
	done := make(chan result)
	const n = 12
	for range n {
		go func() {
			out, err := child(t, "create", path).CombinedOutput()
			done <- result{string(out), err}
		}()
	}
	prints := map[string]bool{}
	for range n {
		r := <-done
		if r.err != nil {
			t.Errorf("%s, %v", r.out, r.err)
		}
		prints[r.out] = true
	}
	want := fmt.Sprintf("%x\n", open(t, path).Fingerprint(1))
	if len(prints) != 1 || !prints[want] {
		t.Errorf("%v, in the file %s", prints, want)
	}
	alone(t, path)
}

// TestKilledWhileAdding kills a process that adds keys, at any time: those that
// it reported are in the file, which is whole.
func TestKilledWhileAdding(t *testing.T) {
	_, path := create(t)
	for round := range 5 {
		c := child(t, "add", path)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(30+round*7)*time.Millisecond, func() { c.Process.Kill() })
		last := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if last, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(lines.Text())
			}
		}
		c.Wait()
		numbers := open(t, path).Numbers()
		if got := int(numbers[len(numbers)-1].Number); got < last || got > last+1 && last > 0 {
			t.Errorf("key %d was reported, the file has %d", last, got)
		}
	}
}

// withLimits lets no file grow over some bytes, as a full disk would not.
func withLimits(path string) {
	k, err := keyfile.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	limit := func(low bool) {
		var now syscall.Rlimit
		syscall.Getrlimit(syscall.RLIMIT_FSIZE, &now)
		now.Cur = 1 << 20
		if low {
			now.Cur = 100
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
			fmt.Println(err)
		}
	}
	limit(true)
	_, err = k.Add(time.Now())
	fmt.Println("Add:", errors.Is(err, keyfile.ErrNotWritten), errors.Is(err, syscall.EFBIG), len(k.Numbers()))
	_, err = keyfile.Create(path+"2", time.Now())
	fmt.Println("Create:", errors.Is(err, keyfile.ErrNotWritten), errors.Is(err, syscall.EFBIG))
	limit(false)
	number, err := k.Add(time.Now())
	fmt.Println("Add:", number, err)
}

func TestFullDisk(t *testing.T) {
	_, path := create(t)
	out, err := child(t, "limits", path).CombinedOutput()
	if err != nil || string(out) != "Add: true true 1\nCreate: true true\nAdd: 2 <nil>\n" {
		t.Errorf("%s, %v", out, err)
	}
	alone(t, path)
	if got := open(t, path).Numbers(); len(got) != 2 {
		t.Errorf("Numbers: %v", got)
	}
}

func TestModes(t *testing.T) {
	k, path := create(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("created with %v, %v", info.Mode(), err)
	}
	if _, err := k.Add(start); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("after Add %v, %v", info.Mode(), err)
	}
	for mode := range fs.FileMode(0o1000) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keyfile.Open(path)
		if mode&0o077 == 0 {
			if mode&0o400 != 0 && err != nil {
				t.Errorf("mode %v: %v", mode, err)
			}
			continue
		}
		if !errors.Is(err, keyfile.ErrUnsafeFile) || !strings.Contains(err.Error(), "chmod 600 "+path) || !strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	os.Chmod(path, 0o644)
	if changed, err := k.Reload(); changed || !errors.Is(err, keyfile.ErrUnsafeFile) {
		t.Errorf("Reload: %v, %v", changed, err)
	}
	if _, err := k.Add(start); !errors.Is(err, keyfile.ErrUnsafeFile) {
		t.Errorf("Add: %v", err)
	}
	if _, err := keyfile.Create(path, start); !errors.Is(err, keyfile.ErrUnsafeFile) {
		t.Errorf("Create: %v", err)
	}
	alone(t, path)
}

func TestCreatedFoldersArePrivate(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a")
	if _, err := keyfile.Create(filepath.Join(folder, "b", "keys"), start); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{folder, filepath.Join(folder, "b")} {
		if info, err := os.Stat(made); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", made, info.Mode(), err)
		}
	}
}

func TestNotRegular(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	if out, err := exec.Command("mkfifo", pipe).CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	for _, path := range []string{folder, pipe, os.DevNull} {
		if _, err := keyfile.Open(path); !errors.Is(err, keyfile.ErrUnsafeFile) || !strings.Contains(err.Error(), "regular") {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := keyfile.Create(path, start); !errors.Is(err, keyfile.ErrUnsafeFile) {
			t.Errorf("%s: Create: %v", path, err)
		}
	}
}

func TestOtherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		needs.Missing(t, "only root can give a file away")
	}
	k, path := create(t)
	if err := os.Chown(path, 4711, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Open(path); !errors.Is(err, keyfile.ErrUnsafeFile) || !strings.Contains(err.Error(), "another user") {
		t.Errorf("Open: %v", err)
	}
	if _, err := k.Reload(); !errors.Is(err, keyfile.ErrUnsafeFile) {
		t.Errorf("Reload: %v", err)
	}
	// A link in somebody's folder, who can set it to what he likes.
	os.Chown(path, 0, -1)
	theirs := filepath.Join(t.TempDir(), "theirs")
	if err := errors.Join(os.Mkdir(theirs, 0o755), os.Chown(theirs, 4711, -1), os.Symlink(path, filepath.Join(theirs, "keys"))); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Open(filepath.Join(theirs, "keys")); !errors.Is(err, keyfile.ErrUnsafeFile) {
		t.Errorf("Open: %v", err)
	}
}

func TestSymbolicLinks(t *testing.T) {
	k, path := create(t)
	folder := t.TempDir()
	link := func(name, to string, mode fs.FileMode) string {
		t.Helper()
		in := filepath.Join(folder, name)
		if err := errors.Join(os.Mkdir(in, 0o700), os.Symlink(to, filepath.Join(in, "keys")), os.Chmod(in, mode)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(in, "keys")
	}
	ours := link("ours", path, 0o700)
	relative := link("relative", filepath.Join("..", "ours", "keys"), 0o755)
	for _, good := range []string{ours, relative} {
		same(t, k, open(t, good))
	}
	for name, mode := range map[string]fs.FileMode{"group": 0o770, "others": 0o707, "sticky": 0o777 | fs.ModeSticky, "write only": 0o702} {
		bad := link(name, path, mode)
		for _, path := range []string{bad, link("to "+name, bad, 0o700)} {
			if _, err := keyfile.Open(path); !errors.Is(err, keyfile.ErrUnsafeFile) || !strings.Contains(err.Error(), bad) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := keyfile.Create(path, start); !errors.Is(err, keyfile.ErrUnsafeFile) {
				t.Errorf("%s: Create: %v", name, err)
			}
		}
	}
	loop := link("loop", filepath.Join(folder, "loop", "keys"), 0o700)
	if _, err := keyfile.Open(loop); !errors.Is(err, keyfile.ErrUnreadable) || !errors.Is(err, syscall.ELOOP) {
		t.Errorf("loop: %v", err)
	}
	nowhere := link("nowhere", filepath.Join(folder, "no", "keys"), 0o700)
	for range 2 { // neither does Create make what the link leads to, nor replace the link
		if _, err := keyfile.Open(nowhere); !errors.Is(err, keyfile.ErrMissing) {
			t.Errorf("nowhere: %v", err)
		}
		if _, err := keyfile.Create(nowhere, start); !errors.Is(err, keyfile.ErrMissing) {
			t.Errorf("nowhere: Create: %v", err)
		}
	}
	alone(t, nowhere)

	// The lock is beside the file, the same for all that lead to it.
	linked := open(t, relative)
	other, err := privatefile.Begin(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := linked.Add(start); !errors.Is(err, keyfile.ErrLocked) {
		t.Errorf("Add: %v", err)
	}
	other.End()

	// A change is made to the file, and the link stays.
	if _, err := linked.Add(start); err != nil {
		t.Fatal(err)
	}
	same(t, linked, open(t, path))
	for _, path := range []string{ours, relative} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSymlink {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		alone(t, path)
	}
}
