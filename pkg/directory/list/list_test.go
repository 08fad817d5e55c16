package list_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/directory/directorytest"
	"github.com/tokenctl/tokenctl/pkg/directory/list"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path, canary string) *list.Directory {
	t.Helper()
	d, err := list.New(list.Options{Realm: directorytest.Realm, File: path, Canary: canary})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirectory(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directorytest.Subject {
		path := filepath.Join(t.TempDir(), "staff.txt")
		names := []string{directorytest.Canary}
		save := func() { write(t, path, "# staff\n"+strings.Join(names, "\n")+"\n") }
		save()
		return directorytest.Subject{
			Directory: open(t, path, directorytest.Canary),
			Bare:      open(t, path, ""),
			Add:       func(name string) { names = append(names, name); save() },
			Remove: func(name string) {
				names = slices.DeleteFunc(names, func(n string) bool { return n == name })
				save()
			},
			Down: func() { os.Remove(path) },
		}
	})
}

func presence(t testing.TB, d directory.Directory, names ...string) (string, error) {
	t.Helper()
	var owners []token.Owner
	for _, name := range names {
		owners = append(owners, token.Owner{Realm: d.Realm(), Name: name})
	}
	verdicts, err := d.Presence(t.Context(), owners)
	var present []string
	for _, v := range verdicts {
		if v.State == directory.Present {
			present = append(present, v.Owner.Name)
		}
	}
	return fmt.Sprint(present), err
}

func TestForms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "staff.txt")
	for text, want := range map[string]string{
		"alice\n":                              "[alice]",
		"Alice\r\nBOB\r\n":                     "[alice bob]",
		"\ufeffalice\n":                        "[alice]",
		"# all\n\n  alice  \n\t\nbob # boss\n": "[alice bob]",
		"alice\nalice\nALICE\n":                "[alice]",
		"c#\n#alice\nbob\t# x\n":               "[bob c#]",
		"jose\u0301\n":                         "[jos\u00e9]",
	} {
		write(t, path, text)
		got, err := presence(t, open(t, path, ""), "alice", "bob", "c#", "jos\u00e9", "boss", "#alice", "x", "")
		if err != nil || got != want {
			t.Errorf("%q names %s (%v), want %s", text, got, err, want)
		}
	}
}

// Of a file that is not whole nobody can say who is missing in it.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "staff.txt")
	for text, why := range map[string]string{
		"":                          "names nobody",
		"\n\n":                      "names nobody",
		"# alice\n":                 "names nobody",
		"alice\nbo":                 "cut off",
		"alice\nbob":                "cut off",
		"alice\x00\nbob\n":          "line 1",
		"alice\nb\xffb\n":           "line 2",
		"alice\nbob\x1b[31m\n":      "line 2",
		strings.Repeat("\x00", 512): "cut off",
		"alice\n" + strings.Repeat("x", 300) + "\n": "line 2",
		"bob\n": "canary",
	} {
		write(t, path, text)
		d := open(t, path, "alice")
		for range 2 {
			got, err := presence(t, d, "alice", "carol")
			if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrUsage) || got != "[]" || !strings.Contains(err.Error(), why) {
				t.Errorf("%.20q gives %s (%v), want an error with %q", text, got, err, why)
			}
		}
	}
	for _, path := range []string{filepath.Join(dir, "none"), dir} {
		if _, err := presence(t, open(t, path, ""), "alice"); !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A file that was good once is no answer when it is so no more.
func TestDamagedLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "staff.txt")
	write(t, path, "alice\n")
	d := open(t, path, "")
	for _, text := range []string{"", "alice\nbo", "\n"} {
		write(t, path, "alice\n")
		if got, err := presence(t, d, "alice"); got != "[alice]" || err != nil {
			t.Fatal(got, err)
		}
		write(t, path, text)
		if got, err := presence(t, d, "alice"); !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("%q: %s (%v)", text, got, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []list.Options{
		{},
		{Realm: "staff"},
		{File: "x"},
		{Realm: "local", File: "x"},
		{Realm: "a/b", File: "x"},
		{Realm: "staff", File: "x", Canary: "\x00"},
	} {
		if _, err := list.New(o); !errors.Is(err, token.ErrUsage) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// Every line is a comment, a canonical name, or the end of it all.
func FuzzList(f *testing.F) {
	for _, text := range []string{"alice\nbob # boss\n", "\ufeff# x\r\nA b\r\n", "a", "\n\n", "a#\n#a\n", "\x00\n", "\u00e9\ne\u0301\n"} {
		f.Add(text)
	}
	path := filepath.Join(f.TempDir(), "staff.txt")
	f.Fuzz(func(t *testing.T, text string) {
		write(t, path, text)
		d := open(t, path, "")
		var owners []token.Owner
		for line := range strings.Lines(text) {
			if o, err := d.Canonical(strings.TrimSpace(line)); err == nil && !strings.Contains(line, "#") {
				owners = append(owners, o)
			}
		}
		verdicts, err := d.Presence(t.Context(), owners)
		if err != nil {
			if !errors.Is(err, token.ErrCannotTell) || len(verdicts) > 0 {
				t.Fatalf("%q: %v (%v)", text, verdicts, err)
			}
			return
		}
		for _, v := range verdicts {
			if v.State != directory.Present {
				t.Errorf("%q: %q is %s: %s", text, v.Owner.Name, v.State, v.Why)
			}
		}
	})
}
