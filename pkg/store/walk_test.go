package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// pageSize is how many tokens a walk reads in one transaction.
const pageSize = 4096

// perSecond is how many tokens crowd makes in each second.
const perSecond = 3

// crowd fills a store with n tokens of one owner and returns them as a walk
// shows them, in the order of their making; of every seventh the last use is
// known.
func crowd(t *testing.T, s store.Store, o token.Owner, n int) []token.Token {
	all := make([]token.Token, n)
	for i := range all {
		rec := refreshToken(0, o, "")
		rec.CreatedAt = at(i / perSecond)
		rec.ID, rec.ExpiresAt = tokenID(rec.CreatedAt, i), rec.CreatedAt.Add(token.Day)
		if i%100 > 50 {
			rec.Roles = []token.Role{"reader", token.Role(fmt.Sprint("role", i))}
		}
		if i%5 == 0 {
			rec.RotatedAt, rec.Previous, rec.PreviousUntil = rec.CreatedAt, rec.Verifier, at(5)
			rec.Undo = &token.RotationState{RotatedAt: at(1), Previous: rec.Verifier}
			rec.Replaced = &token.Replaced{ID: tokenID(at(1), i), Verifier: rec.Verifier}
			rec.Family = &token.Family{Tag: "x", Retries: []token.Retry{{Verifier: rec.Verifier, Until: at(5), Sealed: []byte{1}}}}
		}
		all[i].Record = rec
		if i%7 == 0 {
			all[i].LastUsedAt, all[i].LastUsedFrom = at(i+1), fmt.Sprint("host", i)
		}
	}
	for page := range slices.Chunk(all, 1000) {
		update(t, s, func(w store.Writer) error {
			for i := range page {
				if err := store.PutToken(w, nil, &page[i].Record); err != nil {
					return err
				}
				if u := (token.Use{At: page[i].LastUsedAt, From: page[i].LastUsedFrom}); !u.At.IsZero() {
					if err := store.PutUse(w, page[i].ID, u); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for i := range all {
		all[i].Verifier, all[i].Previous, all[i].Undo, all[i].Replaced, all[i].Family = nil, nil, nil, nil, nil
	}
	return all
}

func collect(t *testing.T, walk iter.Seq2[*token.Token, error]) (all []token.Token) {
	t.Helper()
	for tok, err := range walk {
		must(t, err)
		all = append(all, *tok)
	}
	return all
}

// same compares all of every 17th token, and of the others what a page may mix
// up: comparing all of them takes seconds.
func same(t *testing.T, what string, got, want []token.Token) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s gives %d tokens, want %d", what, len(got), len(want))
	}
	for i := range got {
		g, w := &got[i], &want[i]
		if g.ID != w.ID || g.LastUsedAt != w.LastUsedAt || g.LastUsedFrom != w.LastUsedFrom || !slices.Equal(g.Roles, w.Roles) || g.Verifier != nil || g.Previous != nil || g.Undo != nil ||
			i%17 == 0 && !reflect.DeepEqual(g, w) {
			t.Fatalf("%s: token %d differs:\n%s", what, i, cmp.Diff(*w, *g))
		}
	}
}

func TestWalkTokens(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		all := crowd(t, s, alice, 2*pageSize+100)
		same(t, "WalkTokens", collect(t, store.WalkTokens(background, s, time.Time{}, time.Time{}, token.ID{})), all)

		// made is what was made in [from, until), by counting.
		made := func(from, until time.Time) []token.Token {
			return slices.DeleteFunc(slices.Clone(all), func(tok token.Token) bool {
				return !from.IsZero() && tok.CreatedAt.Before(from) || !until.IsZero() && !tok.CreatedAt.Before(until)
			})
		}
		last := all[len(all)-1].CreatedAt
		boundary := all[pageSize].CreatedAt // within this second a page ends
		for _, r := range [][2]time.Time{
			{at(0), last.Add(time.Second)},
			{at(1), at(2)},
			{at(1), at(1)},
			{at(2), at(1)},
			{at(-10), at(1)},
			{{}, at(1)},
			{last, {}},
			{last.Add(time.Second), {}},
			{{}, at(0)},
			{boundary, {}},
			{{}, boundary},
			{{}, boundary.Add(time.Second)},
			{boundary.Add(-time.Second), boundary.Add(time.Second)},
			{at(5).Add(1), at(6).Add(1)}, // between the seconds
			{at(5).Add(time.Second - 1), at(7)},
			{time.Unix(-1e9, 0), time.Unix(1e12, 0)},
			{time.Unix(0, 0), {}},
			{time.Unix(1e12, 0), {}},
		} {
			same(t, fmt.Sprintf("WalkTokens from %s until %s", r[0], r[1]), collect(t, store.WalkTokens(background, s, r[0], r[1], token.ID{})), made(r[0], r[1]))
		}
	})
}

func TestWalkOwner(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		all := crowd(t, s, alice, pageSize+100)
		put(t, s, userToken(900_000, bob))
		// Names that begin alike, or whose realms do.
		for i, o := range []token.Owner{{Realm: "local", Name: "alice2"}, {Realm: "local", Name: "alic"}, {Realm: "local", Name: "alice\x00"}, {Realm: "local2", Name: "alice"}, {Realm: "loca", Name: "lalice"}} {
			put(t, s, userToken(900_001+i, o))
			if got := collect(t, store.WalkOwner(background, s, o, token.ID{})); len(got) != 1 || got[0].Owner != o {
				t.Errorf("the tokens of %+v are %+v", o, got)
			}
		}
		same(t, "WalkOwner", collect(t, store.WalkOwner(background, s, alice, token.ID{})), all)
		if got := collect(t, store.WalkOwner(background, s, token.Owner{Realm: "local", Name: "nobody"}, token.ID{})); len(got) != 0 {
			t.Errorf("nobody has %+v", got)
		}
	})
}

// A walk is used again, also after it was left half-way, and at two places of
// a page.
func TestWalkAgain(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		all := crowd(t, s, alice, pageSize+50)
		for name, walk := range map[string]iter.Seq2[*token.Token, error]{
			"WalkTokens": store.WalkTokens(background, s, time.Time{}, time.Time{}, token.ID{}),
			"WalkOwner":  store.WalkOwner(background, s, alice, token.ID{}),
		} {
			for _, stop := range []int{1, pageSize - 1, pageSize, pageSize + 1, len(all)} {
				n := 0
				for tok, err := range walk {
					must(t, err)
					if tok.ID != all[n].ID {
						t.Fatalf("%s: token %d is %s", name, n, tok.ID)
					}
					if n++; n == stop {
						break
					}
				}
				if n != stop {
					t.Errorf("%s stopped after %d tokens, not %d", name, n, stop)
				}
			}
			same(t, name+" once more", collect(t, walk), all)
		}
	})
}

// The loop's body writes: behind the walk, at its place, and ahead of it.
func TestWalkBodyWrites(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		for name, walk := range map[string]iter.Seq2[*token.Token, error]{
			"WalkTokens": store.WalkTokens(background, s, time.Time{}, time.Time{}, token.ID{}),
			"WalkOwner":  store.WalkOwner(background, s, alice, token.ID{}),
		} {
			all := crowd(t, s, alice, 2*pageSize)
			var got []token.Token
			for tok, err := range walk {
				must(t, err)
				if n := len(got); n == 10 || n == pageSize-1 || n == pageSize {
					for _, i := range []int{n - 1, n, n + pageSize - 1} { // the last is not read yet, but once
						update(t, s, func(w store.Writer) error { return store.DeleteToken(w, &all[i].Record) })
					}
				}
				got = append(got, *tok)
			}
			// Of what went ahead of the walk, that on a page to come is not seen.
			want := slices.DeleteFunc(slices.Clone(all), func(tok token.Token) bool {
				return tok.ID == all[10+pageSize-1].ID || tok.ID == all[2*pageSize-2].ID
			})
			same(t, name, got, want)
		}
	})
}

// An error comes last and alone, after all that could be read before.
func TestWalkErrors(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		all := crowd(t, s, alice, pageSize+50)
		update(t, s, func(w store.Writer) error { return w.Put(tokenKey(all[pageSize+20].ID), []byte("garbage")) })
		for name, walk := range map[string]iter.Seq2[*token.Token, error]{
			"WalkTokens": store.WalkTokens(background, s, time.Time{}, time.Time{}, token.ID{}),
			"WalkOwner":  store.WalkOwner(background, s, alice, token.ID{}),
		} {
			n, failed := 0, 0
			for tok, err := range walk {
				switch {
				case failed > 0:
					t.Fatalf("%s goes on after the error", name)
				case err == nil:
					n++
				default:
					failed++
					if tok != nil || !errors.Is(err, store.ErrDamaged) {
						t.Errorf("%s fails with %v, %v", name, tok, err)
					}
				}
			}
			if n != pageSize || failed != 1 {
				t.Errorf("%s gives %d tokens and %d errors", name, n, failed)
			}
		}
	})
}

// cancelling ends its context in the middle of every View.
type cancelling struct {
	store.Store
	cancel context.CancelFunc
}

func (c cancelling) View(ctx context.Context, fn func(store.Reader) error) error {
	return c.Store.View(ctx, func(r store.Reader) error {
		c.cancel()
		return fn(r)
	})
}

// A walk that is called off has no answer, and says so in the words of all
// others.
func TestWalksEndWithTheirContext(t *testing.T) {
	both(t, func(t *testing.T, s store.Store) {
		put(t, s, userToken(1, alice))
		for name, walk := range map[string]func(context.Context, store.Store) error{
			"WalkTokens": func(ctx context.Context, s store.Store) (last error) {
				for _, err := range store.WalkTokens(ctx, s, time.Time{}, time.Time{}, token.ID{}) {
					last = err
				}
				return last
			},
			"WalkOwner": func(ctx context.Context, s store.Store) (last error) {
				for _, err := range store.WalkOwner(ctx, s, alice, token.ID{}) {
					last = err
				}
				return last
			},
			"Inspect": func(ctx context.Context, s store.Store) (last error) {
				for _, err := range store.Inspect(ctx, s, true, time.Now) {
					last = err
				}
				return last
			},
			"Pages": func(ctx context.Context, s store.Store) (last error) {
				for _, err := range store.Pages(ctx, s, nil, 10) {
					last = err
				}
				return last
			},
		} {
			ctx, cancel := context.WithCancel(background)
			if err := walk(ctx, cancelling{s, cancel}); !errors.Is(err, token.ErrCannotTell) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
