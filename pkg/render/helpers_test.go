package render_test

import (
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	now   = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	alice = token.Owner{Realm: "ldap", Name: "alice"}
	root  = token.Owner{Realm: "local", Name: "root"}
	id1   = token.ID{0x6b, 0x02, 0x8c, 0x70, 1, 2, 3, 4, 5, 6}
	id2   = token.ID{0x6b, 0x02, 0x8c, 0x71, 9, 8, 7, 6, 5, 4}
)

// userToken has as little as a token can have.
func userToken() token.Token {
	return token.NewToken(token.Record{ID: id1, Kind: token.User, Owner: alice, CreatedAt: now.Add(-time.Hour), CreatedBy: alice}, now)
}

// refreshToken has everything.
func refreshToken() token.Token {
	t := token.NewToken(token.Record{
		ID: id2, Kind: token.Refresh, Owner: alice, Name: "ci-deploy", Connection: "default",
		Roles: []token.Role{"UserObserver", "UserEditor"}, CreatedAt: now.Add(-2 * time.Hour), CreatedBy: root,
		ExpiresAt: now.Add(72 * time.Hour), SuspendedAt: now, SuspendedUntil: now.Add(time.Hour),
		RevokedAt: now.Add(-time.Minute), RevokedReason: `leaked, "again"`,
	}, now)
	t.LastUsedAt, t.LastUsedFrom = now.Add(-90*time.Minute), "192.0.2.7"
	return t
}

// one writes a value and returns the text.
func one[T any](t *testing.T, o render.Options, k render.Kind[T], v T) string {
	t.Helper()
	var b strings.Builder
	if err := render.One(t.Context(), &b, withNow(o), k, v); err != nil {
		t.Fatalf("One as %q: %v", o.Format, err)
	}
	return b.String()
}

// stream writes a list and returns the text.
func stream[T any](t *testing.T, o render.Options, k render.Kind[T], values ...T) string {
	t.Helper()
	var b strings.Builder
	n, err := render.Stream(t.Context(), &b, withNow(o), k, list(nil, values...))
	if err != nil || n != len(values) {
		t.Fatalf("Stream as %q: %d of %d values, %v", o.Format, n, len(values), err)
	}
	return b.String()
}

func withNow(o render.Options) render.Options {
	o.Now = now
	return o
}

// list yields values, and in the end an error if there is one.
func list[T any](err error, values ...T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

// wantUsage demands that an error is wrong usage and names something.
func wantUsage(t *testing.T, err error, names string) {
	t.Helper()
	if !errors.Is(err, token.ErrUsage) || !strings.Contains(err.Error(), names) {
		t.Errorf("error %v is not wrong usage that names %s", err, names)
	}
}
