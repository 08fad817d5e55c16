package wallet_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A saved token goes by its name and place, and another takes its place whole.
func TestWalletSaved(t *testing.T) {
	folder := t.TempDir() + "/tokenctl"
	w := open(t, folder, nil)
	const here, there = "bolt:///here.db", "https://there.example.org"
	if _, _, err := w.Saved(t.Context(), here, "ci"); !errors.Is(err, token.ErrNotFound) {
		t.Errorf("nothing is saved yet: %v", err)
	}
	for _, s := range []struct{ place, name, text string }{{here, "ci", "one"}, {there, "ci", "two"}, {here, "a", "three"}, {here, "ci", "four"}} {
		if err := w.Save(t.Context(), s.place, s.name, secret.FromText(s.text), ""); err != nil {
			t.Fatal(err)
		}
	}
	w = open(t, folder, nil)
	for _, s := range []struct{ place, name, text string }{{here, "ci", "four"}, {there, "ci", "two"}, {here, "a", "three"}} {
		got, _, err := w.Saved(t.Context(), s.place, s.name)
		if err != nil || got.Reveal() != s.text {
			t.Errorf("%s of %s is %q, %v", s.name, s.place, got.Reveal(), err)
		}
	}
	// Who comes late with an older one does not take the place of a newer.
	_, was, err := w.Saved(t.Context(), here, "ci")
	if err == nil {
		err = w.Save(t.Context(), here, "ci", secret.FromText("five"), was)
	}
	if err == nil {
		err = w.Save(t.Context(), here, "ci", secret.FromText("late"), was)
	}
	if got, _, savedErr := w.Saved(t.Context(), here, "ci"); err != nil || savedErr != nil || got.Reveal() != "five" {
		t.Errorf("it is %q: %v, %v", got.Reveal(), err, savedErr)
	}
	has := func(want ...string) {
		t.Helper()
		list, err := w.AllSaved()
		var got []string
		for _, s := range list {
			got = append(got, s.Name+" "+s.Place+" "+s.Token.Place())
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	has("a "+here+" "+place(), "ci "+here+" "+place(), "ci "+there+" "+place())
	if err := w.Forget(t.Context(), here, "ci"); err != nil {
		t.Error(err)
	}
	has("a "+here+" "+place(), "ci "+there+" "+place())
	for _, gone := range [][2]string{{here, "ci"}, {here, "none"}, {there, "a"}} {
		if err := w.Forget(t.Context(), gone[0], gone[1]); !errors.Is(err, token.ErrNotFound) {
			t.Errorf("%s of %s: %v", gone[1], gone[0], err)
		}
	}
	// One that was being exchanged when it was removed does not come back.
	if err := w.Save(t.Context(), here, "ci", secret.FromText("six"), was); err != nil {
		t.Error(err)
	}
	has("a "+here+" "+place(), "ci "+there+" "+place())
	if got, _, err := w.Saved(t.Context(), there, "ci"); err != nil || got.Reveal() != "two" {
		t.Errorf("that of the other place is %q, %v", got.Reveal(), err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "credentials.yaml")); strings.Contains(string(text), "five") || strings.Contains(string(text), "six") {
		t.Errorf("what was forgotten is there: %s, %v", text, err)
	}
	if err := w.Save(t.Context(), here, "no name", secret.FromText("x"), ""); !errors.Is(err, token.ErrUsage) {
		t.Errorf("a name that is none: %v", err)
	}
}

// Who reads while another process replaces a refresh token, again and again, has
// the one or the other.
func TestSavedWhileReplaced(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	const here = "bolt:///here.db"
	save := func() {
		must(t, open(t, folder, nil).Save(t.Context(), here, "ci", secret.FromText("good"), ""))
	}
	save()
	w := open(t, folder, nil)
	whileReplaced(t, save, func() (secret.Secret, error) {
		s, _, err := w.Saved(t.Context(), here, "ci")
		return s, err
	})
}

// The same of the credential of a context; but that of another server, which has
// the name by now, is not this one's.
func TestCredentialWhileReplaced(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	other, w := open(t, folder, nil), open(t, folder, nil)
	_, err := w.Add(t.Context(), prod("prod"), secret.FromText("good"))
	must(t, err)
	whileReplaced(t, func() {
		must(t, other.SetCredential(t.Context(), "prod", secret.FromText("good")))
	}, func() (secret.Secret, error) {
		c, err := w.Context("prod")
		must(t, err)
		return w.Credential(t.Context(), c)
	})
	before, err := w.Context("prod")
	must(t, err)
	elsewhere := prod("prod")
	elsewhere.Server = "https://elsewhere.example.org"
	_, err = other.Replace(t.Context(), elsewhere, secret.FromText("of elsewhere"))
	must(t, err)
	if s, err := w.Credential(t.Context(), before); !errors.Is(err, token.ErrCannotTell) || !s.IsZero() {
		t.Errorf("it is %q, %v", s.Reveal(), err)
	}
}

// whileReplaced reads again and again while another replaces a secret.
func whileReplaced(t *testing.T, replace func(), read func() (secret.Secret, error)) {
	var reader sync.WaitGroup
	done := make(chan bool)
	reader.Go(func() {
		for {
			if s, err := read(); err != nil || s.Reveal() != "good" {
				t.Errorf("it is %q, %v", s.Reveal(), err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for range 100 {
		replace()
	}
	close(done)
	reader.Wait()
}

// What cannot be taken off the list is not destroyed either.
func TestForgetLocked(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	w := open(t, folder, nil)
	const here = "bolt:///here.db"
	must(t, w.Save(t.Context(), here, "ci", secret.FromText("one"), ""))
	f, err := hold(filepath.Join(folder, "saved.yaml.lock"))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.Forget(ctx, here, "ci"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another changes the list: %v", err)
	}
	f.Close()
	if s, _, err := w.Saved(t.Context(), here, "ci"); err != nil || s.Reveal() != "one" {
		t.Errorf("it is %q, %v", s.Reveal(), err)
	}
	// One whose secret is gone all the same can be taken off the list.
	must(t, os.Remove(filepath.Join(folder, "credentials.yaml")))
	if _, _, err := w.Saved(t.Context(), here, "ci"); !errors.Is(err, token.ErrNotFound) || !strings.Contains(err.Error(), "not there any more") {
		t.Errorf("without its secret: %v", err)
	}
	must(t, w.Forget(t.Context(), here, "ci"))
	if list, err := w.AllSaved(); len(list) > 0 || err != nil {
		t.Errorf("there are %v, %v", list, err)
	}
}

// What could not be saved is told before there is anything to save.
func TestCanSave(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	w := open(t, folder, nil)
	const here = "bolt:///here.db"
	must(t, w.Save(t.Context(), here, "ci", secret.FromText("one"), ""))
	_, was, err := w.Saved(t.Context(), here, "ci")
	must(t, err)
	must(t, w.CanSave(t.Context(), was))
	for _, name := range []string{"saved.yaml.new", "credentials.yaml.new"} {
		inTheWay := filepath.Join(folder, name)
		must(t, os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700))
		var e *token.Error
		if err := w.CanSave(t.Context(), was); !errors.As(err, &e) || e.Kind != token.ErrCannotTell || e.Hint == "" {
			t.Errorf("with %s it says %v", name, err)
		}
		must(t, os.RemoveAll(inTheWay))
	}
	must(t, w.CanSave(t.Context(), was))
	if s, _, err := w.Saved(t.Context(), here, "ci"); err != nil || s.Reveal() != "one" {
		t.Errorf("asking has changed it: %q, %v", s.Reveal(), err)
	}
	has(t, folder, nil)
}
