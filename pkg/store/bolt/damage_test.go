package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const rows = 400

// newFilled makes a store with tables of several pages, and free pages that
// still hold what was in them.
func newFilled(t testing.TB) string {
	t.Helper()
	path := newPath(t)
	s := open(t, Options{Path: path, Exclusive: true, NoSync: true})
	for i := uint64(0); i < rows; i += 50 {
		must(t, s.Update(background, func(w store.Writer) error {
			for k := i; k < i+50; k++ {
				must(t, putRow(w, k))
			}
			return nil
		}))
	}
	must(t, s.Update(background, func(w store.Writer) error {
		for i := uint64(0); i < rows; i += 4 {
			must(t, w.Delete(rowKeys(i)[4]))
		}
		return nil
	}))
	must(t, s.Close())
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readAll touches every byte that a store gives out.
func readAll(s *Store) (entries int, err error) {
	err = s.View(background, func(r store.Reader) error {
		sum := 0
		for e, err := range r.Scan(nil, nil) {
			if err != nil {
				return err
			}
			for _, b := range [][]byte{e.Key, e.Value} {
				for _, c := range b {
					sum += int(c)
				}
			}
			entries++
		}
		for i := range uint64(rows) {
			for _, k := range rowKeys(i) {
				if _, err := r.Get(k); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
		}
		return nil
	})
	return entries, err
}

func write(s *Store) error {
	return s.Update(background, func(w store.Writer) error {
		for i := range uint64(50) {
			if err := putRow(w, 10_000+i); err != nil {
				return err
			}
		}
		return nil
	})
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// eachMode runs a test in both modes.
func eachMode(t *testing.T, test func(t *testing.T, exclusive bool)) {
	t.Run("shared", func(t *testing.T) { test(t, false) })
	t.Run("exclusive", func(t *testing.T) { test(t, true) })
}

// TestGuardRefuses: whatever stands where the store should, the answer is
// "cannot tell" with a message, and nothing is touched.
func TestGuardRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		spoil   func(t *testing.T, path string) // of a good store
		message string
		hint    string
	}{
		{"0 bytes", func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }, "is empty", "backup"},
		{"1 byte", func(t *testing.T, path string) { must(t, os.Truncate(path, 1)) }, "is damaged: too short", "backup"},
		{"half", func(t *testing.T, path string) { must(t, os.Truncate(path, int64(len(readFile(t, path))/2))) }, "are missing", "backup"},
		{"text", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, bytes.Repeat([]byte("hello\n"), 5000), 0o600))
		}, "is not a store", "path"},
		{"zeroes", func(t *testing.T, path string) { must(t, os.WriteFile(path, make([]byte, 64<<10), 0o600)) }, "is not a store", "path"},
		{"random bytes", func(t *testing.T, path string) {
			b := make([]byte, 64<<10)
			_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
			must(t, os.WriteFile(path, b, 0o600))
		}, "is not a store", "path"},
		{"garbage behind the meta pages", func(t *testing.T, path string) {
			b := readFile(t, path)
			_, _ = rand.NewChaCha8([32]byte{2}).Read(b[2*os.Getpagesize():])
			must(t, os.WriteFile(path, b, 0o600))
		}, "is damaged", "backup"},
		{"both meta pages garbled", func(t *testing.T, path string) {
			b := readFile(t, path)
			b[16+40]++
			b[os.Getpagesize()+16+40]++
			must(t, os.WriteFile(path, b, 0o600))
		}, "is damaged: wrong checksum of a meta page", "backup"},
		{"another program's bbolt file", func(t *testing.T, path string) {
			db := bareFile(t, filepath.Join(t.TempDir(), "x"))
			b := readFile(t, db)
			must(t, os.WriteFile(path, b, 0o600))
		}, "not one of tokenctl", "path"},
		{"a newer schema", func(t *testing.T, path string) { setSchema(t, path, schema+1) }, fmt.Sprint("has schema version ", schema+1), "newer"},
		{"schema 0", func(t *testing.T, path string) { setSchema(t, path, 0) }, "schema version is garbled", "backup"},
		{"a folder", func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) }, "is a folder", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := newFilled(t)
			test.spoil(t, path)
			refused(t, path, test.message, test.hint)
		})
	}
}

// refused opens a path in both modes and looks at the error and at the file.
func refused(t *testing.T, path, message, hint string) {
	t.Helper()
	before, readable := os.ReadFile(path)
	for _, exclusive := range []bool{false, true} {
		s, err := Open(Options{Path: path, Exclusive: exclusive})
		if err == nil {
			s.Close()
			t.Fatalf("opened (exclusive: %v)", exclusive)
		}
		if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrNotFound) {
			t.Errorf("the error is not of the kind ErrCannotTell: %v", err)
		}
		var e *token.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, message) || !strings.Contains(e.Message, path) && !strings.Contains(e.Message, filepath.Dir(path)) {
			t.Errorf("the error is %q, want %q in it", err, message)
		} else if !strings.Contains(e.Hint, hint) || hint == "" && e.Hint != "" {
			t.Errorf("the hint is %q, want %q in it", e.Hint, hint)
		}
	}
	if after, err := os.ReadFile(path); !bytes.Equal(before, after) || (err == nil) != (readable == nil) {
		t.Error("the file has changed")
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	eachMode(t, func(t *testing.T, exclusive bool) {
		_, err := Open(Options{Path: path, Exclusive: exclusive})
		if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("opening a missing file returned %v", err)
		}
	})
	if _, err := os.Lstat(path); err == nil {
		t.Error("opening has made the file")
	}
}

// TestTruncated cuts a file at every page. It is refused as long as something
// is missing; behind that bbolt only keeps room.
func TestTruncated(t *testing.T) {
	path := newFilled(t)
	whole := readFile(t, path)
	good := open(t, Options{Path: path})
	want, err := readAll(good)
	must(t, err)
	m, err := readMeta(bytes.NewReader(whole), int64(len(whole)))
	must(t, err)
	page := int(m.pageSize)
	accepted := 0
	for size := 0; size < len(whole); size += page {
		must(t, os.WriteFile(path, whole[:size], 0o600))
		if size < int(m.end)*page {
			message := "missing"
			switch size {
			case 0:
				message = "is empty"
			}
			refused(t, path, message, "backup")
			continue
		}
		accepted++
		s := open(t, Options{Path: path})
		if n, err := readAll(s); n != want || err != nil {
			t.Errorf("%d bytes: %d entries of %d, %v", size, n, want, err)
		}
		must(t, write(s))
	}
	if accepted == 0 || int(m.end) < 20 {
		t.Errorf("the file tests too little: %d pages, %d of them room", m.end, accepted)
	}
}

// TestTruncatedWhileOpen: the mapped pages are gone then, and reading one is a
// signal.
func TestTruncatedWhileOpen(t *testing.T) {
	for _, size := range []int64{0, int64(os.Getpagesize()), int64(3 * os.Getpagesize()), 20 * int64(os.Getpagesize())} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := newFilled(t)
			s := open(t, Options{Path: path, Exclusive: true})
			_, err := readAll(s)
			must(t, err)
			must(t, os.Truncate(path, size))
			for range 2 {
				if _, err := readAll(s); !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "is damaged") {
					t.Errorf("reading returned %v", err)
				}
				if err := write(s); !errors.Is(err, token.ErrCannotTell) {
					t.Errorf("writing returned %v", err)
				}
			}
			must(t, s.Close())
			// The lock is free, also if the mapping could not be undone.
			if _, err := Open(Options{Path: path}); err == nil || strings.Contains(err.Error(), "in use") {
				t.Errorf("opening it again returned %v", err)
			}
		})
	}
}

// TestFaultInTheUsersHands: the bytes that Get returned may be gone when they
// are looked at.
func TestFaultInTheUsersHands(t *testing.T) {
	eachMode(t, func(t *testing.T, exclusive bool) {
		path := newFilled(t)
		s := open(t, Options{Path: path, Exclusive: exclusive})
		err := s.View(background, func(r store.Reader) error {
			v, err := r.Get(rowKeys(rows - 1)[0])
			must(t, err)
			must(t, os.Truncate(path, 0))
			if bytes.Contains(v, []byte("x")) {
				t.Error("found what was not there")
			}
			t.Error("read what is gone")
			return nil
		})
		if !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("View returned %v", err)
		}
	})
}

// TestDamageCannotBeOverlooked: fn may ignore an error of Get, yet the
// transaction fails, and the process writes no more.
func TestDamageCannotBeOverlooked(t *testing.T) {
	eachMode(t, func(t *testing.T, exclusive bool) {
		path := newFilled(t)
		s := open(t, Options{Path: path, Exclusive: exclusive})
		whole := readFile(t, path)
		i := bytes.LastIndex(whole, rowKeys(rows - 1)[0]) // in a leaf page
		page := i - i%os.Getpagesize()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte{9, 9, 9}, int64(page)) // its id
		must(t, err)
		spoiled := readFile(t, path)
		err = s.Update(background, func(w store.Writer) error {
			must(t, w.Put([]byte("a"), nil))
			_, _ = w.Get(rowKeys(rows - 1)[0])
			return nil
		})
		if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("Update returned %v", err)
		}
		if err := s.View(background, func(r store.Reader) error { _, _ = r.Get(rowKeys(rows - 1)[0]); return nil }); !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("View returned %v", err)
		}
		err = s.Update(background, func(w store.Writer) error { return w.Put([]byte("z"), nil) })
		if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("an Update that does not touch the damage returned %v", err)
		}
		if !bytes.Equal(spoiled, readFile(t, path)) {
			t.Error("the file has changed")
		}
	})
}

// TestSpoiledPages: no damage ends the process, or keeps it busy for ever.
func TestSpoiledPages(t *testing.T) {
	whole := readFile(t, newFilled(t))
	path := filepath.Join(t.TempDir(), "tokens.db")
	random := rand.New(rand.NewPCG(1, 2))
	size := os.Getpagesize()
	m, err := readMeta(bytes.NewReader(whole), int64(len(whole)))
	must(t, err)
	failed := 0
	try := func(exclusive bool, spoil func(image []byte)) {
		image := bytes.Clone(whole)
		spoil(image)
		must(t, os.WriteFile(path, image, 0o600))
		s, err := Open(Options{Path: path, Exclusive: exclusive, NoSync: true})
		if err == nil {
			_, err = readAll(s)
			err = errors.Join(err, write(s), s.Close())
		}
		if err != nil {
			failed++
			if !errors.Is(err, token.ErrCannotTell) {
				t.Fatalf("damage returned %v", err)
			}
		}
	}
	for n := range 200 {
		at := random.IntN(int(m.end) * size)
		try(n%2 == 0, func(image []byte) {
			switch n % 3 {
			case 0: // anywhere
				image[at] ^= 1 << random.IntN(8)
			case 1: // in the head of a page
				image[at-at%size+random.IntN(64)] ^= 1 << random.IntN(8)
			default: // one page over another
				from := random.IntN(int(m.end)) * size
				copy(image[at-at%size:][:size], whole[from:])
			}
		})
	}
	if failed < 40 {
		t.Errorf("only %d damages were noticed: they hit too little", failed)
	}
	var branches []int // also old ones among the free pages
	for page := 2; page < int(m.end); page++ {
		if whole[page*size+8] == branchPage {
			branches = append(branches, page)
		}
	}
	for _, from := range branches {
		for _, to := range []int{from, branches[random.IntN(len(branches))], branches[random.IntN(len(branches))]} {
			try(to%2 == 0, func(image []byte) {
				n := random.IntN(int(whole[from*size+10]))
				binary.NativeEndian.PutUint64(image[from*size+pageHeader+16*n+8:], uint64(to))
			})
		}
	}
}

// TestBigFile: where not every page is looked at, exclusive mode still finds a
// branch page of a table that leads back to itself.
func TestBigFile(t *testing.T) {
	path := newPath(t)
	s := open(t, Options{Path: path, Exclusive: true, NoSync: true})
	const records = 3000
	for i := 0; i < records; i += 500 {
		must(t, s.Update(background, func(w store.Writer) error {
			for k := i; k < i+500; k++ {
				must(t, w.Put(sortedKey(k), make([]byte, 1500)))
			}
			return nil
		}))
	}
	must(t, s.Close())
	whole := readFile(t, path)
	m, err := readMeta(bytes.NewReader(whole), int64(len(whole)))
	must(t, err)
	if m.end <= smallFile {
		t.Fatalf("%d pages are no big file", m.end)
	}
	eachMode(t, func(t *testing.T, exclusive bool) {
		s := open(t, Options{Path: path, Exclusive: exclusive})
		if n, err := readAll(s); n != records || err != nil {
			t.Errorf("%d entries of %d, %v", n, records, err)
		}
		must(t, s.Update(background, func(w store.Writer) error { return w.Put(sortedKey(0), make([]byte, 1500)) }))
		must(t, s.Close())
	})
	must(t, os.WriteFile(path, whole, 0o600))
	size, found := int(m.pageSize), 0
	for page := 2; page < int(m.end); page++ {
		if whole[page*size+8] != branchPage {
			continue
		}
		image := bytes.Clone(whole)
		binary.NativeEndian.PutUint64(image[page*size+pageHeader+8:], uint64(page))
		must(t, os.WriteFile(path, image, 0o600))
		s, err := Open(Options{Path: path, Exclusive: true})
		if err == nil { // an old page, among the free ones
			if n, err := readAll(s); n != records || err != nil {
				t.Errorf("%d entries of %d, %v", n, records, err)
			}
			must(t, s.Close())
			continue
		}
		if found++; !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), fmt.Sprintf("page %d leads to page %d", page, page)) {
			t.Errorf("Open returned %v", err)
		}
	}
	if found < 2 {
		t.Errorf("only %d branch pages are in use", found)
	}
}
