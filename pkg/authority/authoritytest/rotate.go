package authoritytest

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var rotating = []rule{
	{"A rotated token has another secret and is otherwise the same", rotateGives},
	{"The old secret is good as long as the grace says", rotateGrace},
	{"The old secret is good until the new one is used", rotateUntilUsed},
	{"Only the secret before the last is ever good", rotateTwice},
	{"What rests goes on resting", rotateSuspended},
	{"What has ended, or has changed, is not rotated", rotateConflict},
	{"Of many at once that saw the same one wins", rotateAtOnce},
	{"A grace that makes no sense changes nothing", rotateNonsense},
}

var takingBack = []rule{
	{"A Generate is undone", takeBackGenerate},
	{"A Rotate is undone", takeBackRotate},
	{"What the Rotate had replaced is as it was", takeBackGrace},
	{"It gives a narrowed credential nothing wider", takeBackNarrowed},
	{"It works for ten minutes", takeBackLate},
	{"It works only while nothing else has changed the token", takeBackChanged},
	{"A new secret that was used has arrived", takeBackUsed},
}

func (w *world) rotate(i authority.Issued, r authority.Rotation) authority.Issued {
	w.Helper()
	got, err := w.alice.Rotate(background, token.Ref{ID: i.Token.ID}, r)
	w.must(err)
	return got
}

func rotateGives(w *world) {
	for _, spec := range []token.Spec{lasting(user(), time.Hour), {Kind: token.Refresh, Name: "ci", Roles: []token.Role{"reader"}}} {
		first := w.generate(w.alice, spec)
		w.use(first.Secret, "192.0.2.1")
		w.wait(time.Minute)
		second := w.rotate(first, authority.Rotation{Grace: time.Millisecond}) // which is none: seconds count
		want := w.get(first.Token.ID)
		w.equal("what Rotate gives", second.Token, want)
		want.RotatedAt, want.Revision, want.LastChange = time.Time{}, first.Token.Revision, token.Made
		want.PreviousUntil, want.LastUsedAt, want.LastUsedFrom = time.Time{}, time.Time{}, ""
		w.equal("all but the rotation", want, first.Token)
		if second.Token.Revision != first.Token.Revision+1 || !second.Token.RotatedAt.Equal(w.second()) {
			w.Errorf("the revision is %d, rotated at %s", second.Token.Revision, second.Token.RotatedAt)
		}
		w.refuses(first.Secret, authority.WrongSecret)
		w.accepts(second.Secret)
	}
}

func rotateGrace(w *world) {
	first := w.generate(w.alice, refresh())
	w.until(w.second())
	second := w.rotate(first, authority.Rotation{Grace: time.Hour})
	w.accepts(first.Secret)
	w.wait(time.Hour - 1)
	w.accepts(first.Secret)
	w.accepts(w.exchange(first.Secret).Text)
	w.use(second.Secret, "") // which ends a grace only if that was asked for
	w.accepts(first.Secret)
	w.wait(1)
	w.refuses(first.Secret, authority.WrongSecret)
	w.accepts(second.Secret)

	// A grace does not outlive the token.
	short := w.generate(w.alice, lasting(user(), time.Minute))
	w.rotate(short, authority.Rotation{Grace: token.MaxLifetime})
	w.until(short.Token.ExpiresAt)
	w.refuses(short.Secret, authority.TokenExpired)
}

func rotateUntilUsed(w *world) {
	first := w.generate(w.alice, refresh())
	second := w.rotate(first, authority.Rotation{UntilUsed: true})
	w.accepts(second.Secret) // looked at, not used
	w.use(first.Secret, "")  // the old one may be used
	w.wait(3 * token.Day)
	w.accepts(first.Secret)
	w.equal("the log", w.changes(func() { w.use(second.Secret, "") }), []string{"token.rotated-in"})
	w.equal("the log, later", len(w.changes(func() { w.use(second.Secret, "") })), 0)
	w.refuses(first.Secret, authority.WrongSecret)
	w.accepts(second.Secret)

	// With a grace, whichever ends first.
	third := w.rotate(second, authority.Rotation{UntilUsed: true, Grace: time.Hour})
	w.accepts(second.Secret)
	w.exchange(third.Secret)
	w.refuses(second.Secret, authority.WrongSecret)
	w.until(w.second())
	fourth := w.rotate(third, authority.Rotation{UntilUsed: true, Grace: time.Hour})
	w.wait(time.Hour)
	w.refuses(third.Secret, authority.WrongSecret)
	w.accepts(fourth.Secret)
}

func rotateTwice(w *world) {
	first := w.generate(w.alice, user())
	second := w.rotate(first, authority.Rotation{Grace: time.Hour})
	third := w.rotate(second, authority.Rotation{Grace: time.Minute})
	w.refuses(first.Secret, authority.WrongSecret)
	w.accepts(second.Secret)
	w.accepts(third.Secret)
	w.wait(time.Minute)
	w.refuses(second.Secret, authority.WrongSecret)
	w.must(w.alice.Revoke(background, refs(first), ""))
	w.refuses(third.Secret, authority.TokenRevoked)
}

func rotateSuspended(w *world) {
	first := w.generate(w.alice, user())
	w.must(w.alice.Suspend(background, refs(first), time.Time{}))
	second := w.rotate(first, authority.Rotation{Grace: time.Hour})
	w.refuses(first.Secret, authority.TokenSuspended)
	w.refuses(second.Secret, authority.TokenSuspended)
	w.must(w.alice.Resume(background, refs(first)))
	w.accepts(first.Secret)
	w.accepts(second.Secret)
}

func rotateConflict(w *world) {
	revoked, expired, stale := w.generate(w.alice, refresh()), w.generate(w.alice, lasting(refresh(), time.Second)), w.generate(w.alice, refresh())
	w.must(w.alice.Revoke(background, refs(revoked), ""))
	w.wait(time.Second)
	w.rotate(stale, authority.Rotation{})
	for _, i := range []authority.Issued{revoked, expired, stale} {
		w.unchanged("what cannot be rotated", func() {
			got, err := w.alice.Rotate(background, ref(i), authority.Rotation{})
			w.fails(err, token.ErrConflict)
			if !got.Secret.IsZero() {
				w.Error("there is a secret")
			}
		})
	}
}

func rotateAtOnce(w *world) {
	first := w.generate(w.alice, user())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []authority.Issued
	for range 8 {
		wg.Go(func() {
			i, err := w.alice.Rotate(background, ref(first), authority.Rotation{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, i)
			} else {
				w.fails(err, token.ErrConflict)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		w.Fatalf("%d of 8 have won", len(won))
	}
	w.accepts(won[0].Secret)
	w.refuses(first.Secret, authority.WrongSecret)
}

func rotateNonsense(w *world) {
	i := w.generate(w.alice, user())
	w.unchanged("a grace that makes no sense", func() {
		for _, grace := range []time.Duration{-1, -time.Hour, math.MinInt64, token.MaxLifetime + 1, math.MaxInt64} {
			if _, err := w.alice.Rotate(background, ref(i), authority.Rotation{Grace: grace}); !errors.Is(err, token.ErrUsage) {
				w.Errorf("a grace of %d: %v", grace, err)
			}
		}
	})
	w.accepts(i.Secret)
}

func takeBackGenerate(w *world) {
	i := w.generate(w.alice, user())
	w.must(w.alice.TakeBack(background, ref(i)))
	w.refuses(i.Secret, authority.UnknownToken)
	w.gone(i.Token.ID)
	w.fails(w.alice.TakeBack(background, ref(i)), token.ErrNotFound)
	w.generate(w.alice, user())
}

func takeBackRotate(w *world) {
	first := w.generate(w.alice, refresh())
	w.wait(time.Hour)
	for _, r := range []authority.Rotation{{}, {Grace: time.Hour}, {UntilUsed: true}} {
		before := w.get(first.Token.ID)
		second := w.rotate(first, r)
		w.must(w.alice.TakeBack(background, ref(second)))
		after := w.get(first.Token.ID)
		after.Revision, after.LastChange = before.Revision, before.LastChange
		w.equal("the token", after, before)
		w.accepts(first.Secret)
		w.refuses(second.Secret, authority.WrongSecret)
		w.fails(w.alice.TakeBack(background, ref(second)), token.ErrConflict)
		w.fails(w.alice.TakeBack(background, w.seen(first)), token.ErrConflict) // once is enough
		w.accepts(first.Secret)
	}
	w.wait(time.Hour)
	w.accepts(first.Secret)
}

func takeBackGrace(w *world) {
	w.until(w.second())
	first := w.generate(w.alice, refresh())
	second := w.rotate(first, authority.Rotation{Grace: time.Hour})
	before := w.get(first.Token.ID)
	w.wait(time.Minute)
	third := w.rotate(second, authority.Rotation{Grace: 2 * time.Hour})
	w.refuses(first.Secret, authority.WrongSecret)
	w.must(w.alice.TakeBack(background, ref(third)))
	after := w.get(first.Token.ID)
	after.Revision, after.LastChange = before.Revision, before.LastChange
	w.equal("the token", after, before)
	w.accepts(first.Secret)
	w.accepts(second.Secret)
	w.refuses(third.Secret, authority.WrongSecret)
	w.wait(59 * time.Minute)
	w.refuses(first.Secret, authority.WrongSecret)
	w.accepts(second.Secret)

	// The same of one that was good until the next was used.
	third = w.rotate(second, authority.Rotation{UntilUsed: true})
	fourth := w.rotate(third, authority.Rotation{})
	w.must(w.alice.TakeBack(background, ref(fourth)))
	w.accepts(second.Secret)
	w.use(third.Secret, "")
	w.refuses(second.Secret, authority.WrongSecret)
	w.accepts(third.Secret)
}

// takeBackNarrowed: the old secret that comes back has all rights of its token.
func takeBackNarrowed(w *world) {
	reader := w.narrowed("alice", "reader")
	for _, spec := range []token.Spec{user(), refresh("reader", "writer")} {
		i := w.rotate(w.generate(w.alice, spec), authority.Rotation{})
		w.unchanged("taking back a wider secret", func() { w.fails(reader.TakeBack(background, ref(i)), token.ErrRefused) })
	}
	i := w.rotate(w.generate(w.alice, refresh("reader")), authority.Rotation{})
	w.must(reader.TakeBack(background, ref(i)))
}

func takeBackLate(w *world) {
	w.until(w.second())
	made, rotated := w.generate(w.alice, refresh()), w.generate(w.alice, refresh())
	w.wait(time.Hour)
	again := w.rotate(rotated, authority.Rotation{})
	fresh := w.generate(w.alice, refresh())
	w.unchanged("what was made an hour ago", func() { w.fails(w.alice.TakeBack(background, ref(made)), token.ErrConflict) })
	w.wait(10*time.Minute + time.Second)
	for _, i := range []authority.Issued{again, fresh} {
		w.unchanged("what was made ten minutes and a second ago", func() {
			w.fails(w.alice.TakeBack(background, ref(i)), token.ErrConflict)
		})
		w.accepts(i.Secret)
	}
	last := w.generate(w.alice, user())
	w.wait(10 * time.Minute)
	w.must(w.alice.TakeBack(background, ref(last)))
}

func takeBackChanged(w *world) {
	for what, change := range map[string]func(authority.Issued) error{
		"suspended": func(i authority.Issued) error { return w.alice.Suspend(background, refs(i), time.Time{}) },
		"revoked":   func(i authority.Issued) error { return w.alice.Revoke(background, refs(i), "") },
		"resumed": func(i authority.Issued) error {
			return errors.Join(w.alice.Suspend(background, refs(i), time.Time{}), w.alice.Resume(background, refs(i)))
		},
	} {
		i := w.generate(w.alice, refresh())
		w.must(change(i))
		w.unchanged(what, func() {
			w.fails(w.alice.TakeBack(background, ref(i)), token.ErrConflict)
			w.fails(w.alice.TakeBack(background, w.seen(i)), token.ErrConflict)
		})
	}
	i := w.generate(w.alice, refresh())
	w.fails(w.alice.TakeBack(background, token.Ref{ID: i.Token.ID}), token.ErrUsage)
	rotated := w.rotate(i, authority.Rotation{})
	w.unchanged("rotated since it was made", func() { w.fails(w.alice.TakeBack(background, ref(i)), token.ErrConflict) })
	w.accepts(rotated.Secret)
}

func takeBackUsed(w *world) {
	first := w.generate(w.alice, user())
	second := w.rotate(first, authority.Rotation{UntilUsed: true})
	w.use(second.Secret, "")
	w.unchanged("a secret that was handed over", func() { w.fails(w.alice.TakeBack(background, ref(second)), token.ErrConflict) })
	w.accepts(second.Secret)
}
