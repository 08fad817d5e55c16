package signer

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// states are the states of all keys by id.
func (b *bench) states() map[string]string {
	b.Helper()
	states := map[string]string{}
	b.view(func(r store.Reader) error {
		keys, err := b.List(r)
		for _, k := range keys {
			states[k.ID] = k.State
		}
		return err
	})
	return states
}

func (b *bench) published(now time.Time) map[string]bool {
	b.Helper()
	var set struct{ Keys []map[string]string }
	b.view(func(r store.Reader) error {
		text, err := b.JWKS(r, now)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &set)
	})
	ids := map[string]bool{}
	for _, k := range set.Keys {
		if k["d"] != "" || k["p"] != "" {
			b.Errorf("a private key is published: %v", k)
		}
		if k["use"] != "sig" || k["alg"] == "" || k["kty"] == "" {
			b.Errorf("published as %v", k)
		}
		ids[k["kid"]] = true
	}
	return ids
}

func TestRotationOverlaps(t *testing.T) {
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.T) {
			b := newBench(t, alg)
			first := b.activeID(alg)
			at := start.Add(30 * time.Minute)
			c := claims()
			c.IssuedAt, c.NotBefore, c.ExpiresAt = at, at, at.Add(time.Hour)
			last := b.sign(alg, c) // the last that the old key signs

			second := b.rotate(alg, at, time.Hour)
			if second.ID == first || second.ID != b.activeID(alg) || second.State != Active || !second.ActiveAt.Equal(at) {
				t.Fatalf("after %s: %+v", first, second)
			}
			if s := b.states(); len(s) != 3 || s[first] != Retired || s[second.ID] != Active {
				t.Error(s)
			}
			fresh := b.sign(alg, c)
			for _, jwt := range []string{last, fresh} {
				if _, err := b.check(jwt, c.ExpiresAt.Add(-1)); err != nil {
					t.Error(err)
				}
				b.refused(jwt, c.ExpiresAt)
			}
			if p := b.published(c.ExpiresAt); len(p) != 3 || !p[first] {
				t.Error("the old key must be published while a token of it lives:", p)
			}
			end := c.ExpiresAt.Add(overlap)
			if p := b.published(end); len(p) != 2 || p[first] {
				t.Error("the old key is published for ever:", p)
			}

			third := b.rotate(alg, end, time.Hour)
			if s := b.states(); len(s) != 3 || s[first] != "" || s[second.ID] != Retired || s[third.ID] != Active {
				t.Error(s)
			}
			b.refused(last, at) // its key is gone
		})
	}
}

func TestRetiredKeyCannotSign(t *testing.T) {
	b := newBench(t, token.EdDSA)
	old := b.activeID(token.EdDSA)
	b.rotate(token.EdDSA, start, time.Hour)
	b.view(func(r store.Reader) error {
		if _, err := privates.Get(r, old); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the private half of a retired key is kept: %v", err)
		}
		return nil
	})
}

func TestInstallDoesNothingToKeysThatAreThere(t *testing.T) {
	b := newBench(t, token.EdDSA)
	before := b.states()
	x, y := b.pair(token.EdDSA), b.pair(token.EdDSA)
	b.update(func(w store.Writer) error {
		installed, err := b.Install(w, x, y, start)
		if installed {
			t.Error("installed over others")
		}
		return err
	})
	if got := fmt.Sprint(b.states()); got != fmt.Sprint(before) {
		t.Errorf("%v became %v", before, got)
	}
	es := b.pair(token.ES256)
	for _, pairs := range [][2]*Pair{{es, es}, {es, x}} {
		err := b.store.Update(t.Context(), func(w store.Writer) error {
			_, err := b.Install(w, pairs[0], pairs[1], start)
			return err
		})
		if err == nil {
			t.Errorf("installed %s and %s", pairs[0], pairs[1])
		}
	}
}

func TestRotateTriedAgainRotatesOnce(t *testing.T) {
	b := newBench(t, token.EdDSA)
	next := b.pair(token.EdDSA)
	rotate := func() error {
		return b.store.Update(t.Context(), func(w store.Writer) error {
			_, err := b.Rotate(w, next, start, time.Hour)
			return err
		})
	}
	if err := rotate(); err != nil {
		t.Fatal(err)
	}
	if err := rotate(); !errors.Is(err, token.ErrConflict) {
		t.Error(err)
	}
	if s := b.states(); len(s) != 3 || s[next.ID()] != Next {
		t.Error(s)
	}
}

func TestRotateWithoutKeys(t *testing.T) {
	b := newBench(t)
	next := b.pair(token.EdDSA)
	err := b.store.Update(t.Context(), func(w store.Writer) error {
		_, err := b.Rotate(w, next, start, time.Hour)
		return err
	})
	if !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
}

func TestRotationsAtOnce(t *testing.T) {
	b := newBench(t, token.EdDSA)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			next, err := b.Generate(token.EdDSA, start)
			if err == nil {
				err = b.store.Update(t.Context(), func(w store.Writer) error {
					_, err := b.Rotate(w, next, start, time.Hour)
					return err
				})
			}
			if err != nil {
				t.Error(err)
			}
			_ = b.store.View(t.Context(), func(r store.Reader) error {
				jwt, err := b.Sign(r, token.EdDSA, claims())
				if err == nil {
					_, err = b.Check(r, jwt, start)
				}
				if err != nil {
					t.Error(err)
				}
				return nil
			})
		})
	}
	wg.Wait()
	count := map[string]int{}
	for _, state := range b.states() {
		count[state]++
	}
	if count[Active] != 1 || count[Next] != 1 || count[Retired] != 8 {
		t.Error(count)
	}
}

func TestKeyFile(t *testing.T) {
	b := newBench(t, token.EdDSA)
	jwt := b.sign(token.EdDSA, claims())

	other := New(keyfile.New(start)) // somebody with the database alone
	b.view(func(r store.Reader) error {
		if _, err := other.Sign(r, token.EdDSA, claims()); !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("signed without the key file: %v", err)
		}
		_, err := other.Check(r, jwt, start)
		return err
	})

	if _, err := b.keys.Add(start); err != nil {
		t.Fatal(err)
	}
	b.update(func(w store.Writer) error { return b.Reseal(w) })
	if err := b.keys.Drop(1); err != nil {
		t.Fatal(err)
	}
	b.view(func(r store.Reader) error {
		_, err := New(b.keys).Sign(r, token.EdDSA, claims())
		return err
	})
}

func TestPrivateKeysAreSealedInTheStore(t *testing.T) {
	b := newBench(t)
	p := b.pair(token.EdDSA)
	b.update(func(w store.Writer) error {
		_, err := b.Install(w, p, b.pair(token.EdDSA), start)
		return err
	})
	b.view(func(r store.Reader) error {
		for e, err := range r.Scan(nil, nil) {
			if err != nil {
				return err
			}
			if strings.Contains(string(e.Value), string(p.private[len(p.private)-32:])) {
				t.Errorf("the private key stands under %q", e.Key)
			}
		}
		return nil
	})
}

// A key must be the one of its id: a record that names another is not used.
func TestSwappedPublicKeyIsNotUsed(t *testing.T) {
	b := newBench(t, token.EdDSA)
	kid := b.activeID(token.EdDSA)
	jwt := b.sign(token.EdDSA, claims())
	stranger := b.pair(token.EdDSA)
	b.update(func(w store.Writer) error {
		rec, err := publics.Get(w, kid)
		rec.public = stranger.public
		return errors.Join(err, publics.Put(w, rec))
	})
	if _, err := b.check(jwt, start); !errors.Is(err, token.ErrCannotTell) {
		t.Error(err)
	}
}

func TestPairShowsNothing(t *testing.T) {
	p := newBench(t).pair(token.ES256)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("made", "pair", p, "value", *p)
	//lint:ignore SA9005 that nothing comes out is the point
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %x %d %v", p, p, p, p, p, *p, []any{*p}) + log.String() + string(text)
	for _, form := range []string{"%x", "%v", "%q"} {
		if private := strings.Trim(fmt.Sprintf(form, p.private[40:60]), "[]\""); strings.Contains(all, private) {
			t.Errorf("%s shows the private key", form)
		}
	}
	if !strings.Contains(all, p.ID()) {
		t.Error("it shows nothing at all")
	}
}

func TestGenerateUnknownAlgorithm(t *testing.T) {
	if _, err := newBench(t).Generate("HS256", start); !errors.Is(err, token.ErrUsage) {
		t.Error(err)
	}
}
