package token_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	start = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	alice = token.Owner{Realm: "local", Name: "alice"}
)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func TestStatusAt(t *testing.T) {
	for _, c := range []struct {
		what string
		rec  token.Record
		when time.Time
		want token.Status
	}{
		{"without end", token.Record{}, at(1e9), token.Active},

		{"a nanosecond before expiry", token.Record{ExpiresAt: at(60)}, at(60).Add(-1), token.Active},
		{"at expiry", token.Record{ExpiresAt: at(60)}, at(60), token.Expired},
		{"after expiry", token.Record{ExpiresAt: at(60)}, at(61), token.Expired},

		{"suspended", token.Record{SuspendedAt: at(10)}, at(10), token.Suspended},
		{"suspended for ever", token.Record{SuspendedAt: at(10)}, at(1e9), token.Suspended},
		{"a nanosecond before the end of a suspension", token.Record{SuspendedAt: at(10), SuspendedUntil: at(20)}, at(20).Add(-1), token.Suspended},
		{"at the end of a suspension", token.Record{SuspendedAt: at(10), SuspendedUntil: at(20)}, at(20), token.Active},

		{"expired while suspended", token.Record{SuspendedAt: at(10), ExpiresAt: at(60)}, at(60), token.Expired},
		{"suspended beyond its expiry", token.Record{SuspendedAt: at(10), SuspendedUntil: at(90), ExpiresAt: at(60)}, at(90), token.Expired},
		{"suspended before its expiry", token.Record{SuspendedAt: at(10), ExpiresAt: at(60)}, at(60).Add(-1), token.Suspended},

		{"revoked", token.Record{RevokedAt: at(10)}, at(10), token.Revoked},
		{"revoked by a clock ahead of this one", token.Record{RevokedAt: at(10)}, at(0), token.Revoked},
		{"revoked, suspended and expired", token.Record{RevokedAt: at(10), SuspendedAt: at(5), ExpiresAt: at(60)}, at(90), token.Revoked},
	} {
		if got := c.rec.StatusAt(c.when); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
		if live := c.want == token.Active || c.want == token.Suspended; c.rec.Live(c.when) != live {
			t.Errorf("%s: live is %t", c.what, !live)
		}
	}
}

// full is a record with every field set.
func full() token.Record {
	return token.Record{
		ID: token.ID{1}, Kind: token.Refresh, Owner: alice, Name: "ci", Service: "imap", Connection: "default", Audience: "urn:x:y", Roles: []token.Role{"reader"},
		CreatedAt: at(0), CreatedBy: alice, ExpiresAt: at(60), SuspendedAt: at(1), SuspendedUntil: at(2),
		RotatedAt: at(3), Verifier: secret.Verifier{1}, Previous: secret.Verifier{2}, PreviousUntil: at(4), PreviousUntilUsed: true,
		Undo:       &token.RotationState{RotatedAt: at(2), Previous: secret.Verifier{3}, PreviousUntil: at(9)},
		LastChange: token.Rotated, Revision: 7,
	}
}

func TestBury(t *testing.T) {
	rec, by := full(), token.Owner{Realm: "local", Name: "root"}
	rec.Bury(at(50), by, "lost")
	if rec.StatusAt(at(50)) != token.Revoked || rec.RevokedAt != at(50) || rec.RevokedBy != by || rec.RevokedReason != "lost" {
		t.Errorf("the tombstone says %s, %s, %s, %q", rec.StatusAt(at(50)), rec.RevokedAt, rec.RevokedBy, rec.RevokedReason)
	}
	if rec.Verifier != nil || rec.Previous != nil || rec.Undo != nil || !rec.PreviousUntil.IsZero() || rec.PreviousUntilUsed {
		t.Errorf("the tombstone can verify: %+v", rec)
	}
	if rec.ID != full().ID || rec.Owner != alice || rec.Name != "ci" || rec.CreatedAt != at(0) || rec.ExpiresAt != at(60) {
		t.Errorf("the tombstone has forgotten whose it is: %+v", rec)
	}
}

func TestNewTokenShowsNoVerifier(t *testing.T) {
	rec := full()
	shown := token.NewToken(rec, at(60))
	if shown.Verifier != nil || shown.Previous != nil || shown.Undo != nil {
		t.Error("a verifier is shown")
	}
	if shown.Status != token.Expired || shown.Name != "ci" {
		t.Errorf("shown is %+v", shown)
	}
	if rec.Verifier == nil || rec.Previous == nil || rec.Undo == nil {
		t.Error("showing has changed the record")
	}
	if rec.Ref() != (token.Ref{ID: token.ID{1}, Revision: 7}) {
		t.Errorf("the reference is %+v", rec.Ref())
	}
}

func TestRotationState(t *testing.T) {
	rec, other := full(), token.Record{}
	other.SetRotationState(rec.RotationState())
	if other.RotatedAt != rec.RotatedAt || !bytes.Equal(other.Previous, rec.Previous) || other.PreviousUntil != rec.PreviousUntil || other.PreviousUntilUsed != rec.PreviousUntilUsed {
		t.Errorf("the state put back is %+v", other)
	}
	if other.SetRotationState(token.RotationState{}); !other.RotatedAt.IsZero() || other.Previous != nil || !other.PreviousUntil.IsZero() || other.PreviousUntilUsed {
		t.Errorf("no state put back is %+v", other)
	}
}

func TestSpecCheck(t *testing.T) {
	for _, c := range []struct {
		what string
		spec token.Spec
		ok   bool
	}{
		{"user token", token.Spec{Kind: token.User}, true},
		{"user token with lifetime", token.Spec{Kind: token.User, Lifetime: token.Day}, true},
		{"service token", token.Spec{Kind: token.Service, Service: "imap"}, true},
		{"refresh token", token.Spec{Kind: token.Refresh}, true},
		{"refresh token with all", token.Spec{Kind: token.Refresh, Name: "ci", Connection: "default", Roles: []token.Role{"reader", token.Admin}, Lifetime: time.Second}, true},
		{"longest", token.Spec{Kind: token.Refresh, Lifetime: token.MaxLifetime}, true},

		{"no kind", token.Spec{}, false},
		{"access token", token.Spec{Kind: token.Access}, false},
		{"unknown kind", token.Spec{Kind: 9}, false},
		{"user token with a name", token.Spec{Kind: token.User, Name: "ci"}, false},
		{"user token with roles", token.Spec{Kind: token.User, Roles: []token.Role{"reader"}}, false},
		{"user token with a connection", token.Spec{Kind: token.User, Connection: "default"}, false},
		{"user token with a service", token.Spec{Kind: token.User, Service: "imap"}, false},
		{"service token without a service", token.Spec{Kind: token.Service}, false},
		{"service token with a name", token.Spec{Kind: token.Service, Service: "imap", Name: "x"}, false},
		{"refresh token with a service", token.Spec{Kind: token.Refresh, Service: "imap"}, false},
		{"name like an id", token.Spec{Kind: token.Refresh, Name: "0123456789abcdef"}, false},
		{"name with a line break", token.Spec{Kind: token.Refresh, Name: "a\nb"}, false},
		{"bad service", token.Spec{Kind: token.Service, Service: "im/ap"}, false},
		{"bad connection", token.Spec{Kind: token.Refresh, Connection: "a b"}, false},
		{"empty role", token.Spec{Kind: token.Refresh, Roles: []token.Role{""}}, false},
		{"bad role", token.Spec{Kind: token.Refresh, Roles: []token.Role{"reader", "a b"}}, false},
		{"negative lifetime", token.Spec{Kind: token.User, Lifetime: -1}, false},
		{"least lifetime", token.Spec{Kind: token.User, Lifetime: math.MinInt64}, false},
		{"short lifetime", token.Spec{Kind: token.User, Lifetime: time.Second - 1}, false},
		{"long lifetime", token.Spec{Kind: token.User, Lifetime: token.MaxLifetime + 1}, false},
	} {
		if err := c.spec.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestNamesOfThings(t *testing.T) {
	for _, k := range []token.Kind{token.User, token.Service, token.Refresh} {
		if got, err := token.ParseKind(k.String()); got != k || err != nil {
			t.Errorf("the kind %s is read as %s, %v", k, got, err)
		}
	}
	for _, s := range []token.Status{token.Active, token.Suspended, token.Expired, token.Revoked} {
		if got, err := token.ParseStatus(string(s)); got != s || err != nil {
			t.Errorf("the state %s is read as %s, %v", s, got, err)
		}
	}
	for _, k := range []token.AccountKind{token.Person, token.ServiceAccount} {
		if got, err := token.ParseAccountKind(string(k)); got != k || err != nil {
			t.Errorf("the kind of account %s is read as %s, %v", k, got, err)
		}
	}
	for _, m := range token.AuthMethods() {
		if got, err := token.ParseAuthMethod(string(m)); got != m || err != nil {
			t.Errorf("the method %s is read as %s, %v", m, got, err)
		}
	}
	for _, a := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		if got, err := token.ParseAlgorithm(string(a)); got != a || err != nil {
			t.Errorf("the algorithm %s is read as %s, %v", a, got, err)
		}
	}
	if _, err := token.ParseAuthMethod("client_secret_jwt"); !errors.Is(err, token.ErrUsage) {
		t.Errorf("the method client_secret_jwt: %v", err)
	}
	// What is in the store never changes.
	if numbers := []token.Kind{token.User, token.Service, token.Refresh}; !slices.Equal(numbers, []token.Kind{1, 2, 3}) {
		t.Errorf("the kinds are %d", numbers)
	}
	if numbers := []token.Change{token.Other, token.Made, token.Rotated}; !slices.Equal(numbers, []token.Change{0, 1, 2}) {
		t.Errorf("the changes are %d", numbers)
	}
	for _, text := range []string{"", "access", "User", "kind-9", "none", "HS256"} {
		for what, err := range map[string]error{
			"kind": second(token.ParseKind(text)), "status": second(token.ParseStatus(text)), "kind of account": second(token.ParseAccountKind(text)),
			"algorithm": second(token.ParseAlgorithm(text)), "id": second(token.ParseID(text)),
		} {
			if !errors.Is(err, token.ErrUsage) {
				t.Errorf("%s %q: %v", what, text, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAccountCheck(t *testing.T) {
	bob := token.Owner{Realm: "local", Name: "bob"}
	for _, c := range []struct {
		what    string
		account token.Account
		ok      bool
	}{
		{"person", token.Account{Owner: alice, Kind: token.Person}, true},
		{"service account", token.Account{Owner: alice, Kind: token.ServiceAccount, Steward: bob}, true},
		{"long display name", token.Account{Owner: alice, Kind: token.Person, DisplayName: strings.Repeat("x", 1024)}, true},
		{"no kind", token.Account{Owner: alice}, false},
		{"person with a steward", token.Account{Owner: alice, Kind: token.Person, Steward: bob}, false},
		{"service account without a steward", token.Account{Owner: alice, Kind: token.ServiceAccount}, false},
		{"its own steward", token.Account{Owner: alice, Kind: token.ServiceAccount, Steward: alice}, false},
		{"longer display name", token.Account{Owner: alice, Kind: token.Person, DisplayName: strings.Repeat("x", 1025)}, false},
	} {
		if err := c.account.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if token.CheckReason(strings.Repeat("x", 1024)) != nil || token.CheckReason(strings.Repeat("x", 1025)) == nil {
		t.Error("a reason may have 1024 bytes and no more")
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("disk full")
	err := token.Errorf(token.ErrCannotTell, "writing %s: %w", "x", cause).WithHint("free %d bytes", 7)
	if err.Error() != "writing x: disk full" || err.Hint != "free 7 bytes" || !errors.Is(err, token.ErrCannotTell) || !errors.Is(err, cause) {
		t.Errorf("%+v", err)
	}
	both := token.Errorf(token.ErrUsage, "%w and %w", cause, token.ErrNotFound)
	if !errors.Is(both, token.ErrUsage) || !errors.Is(both, cause) || !errors.Is(both, token.ErrNotFound) {
		t.Errorf("of two causes one is lost: %+v", both)
	}
	plain := token.Errorf(token.ErrNotFound, "there is no %d%%", 7)
	if plain.Error() != "there is no 7%" || plain.Cause != nil || !errors.Is(plain, token.ErrNotFound) || errors.Is(plain, token.ErrConflict) {
		t.Errorf("%+v", plain)
	}
	if !errors.Is(token.ErrMalformed, token.ErrRefused) || !errors.Is(token.ErrMalformed, secret.ErrMalformed) || errors.Is(token.ErrRefused, token.ErrMalformed) {
		t.Error("what is malformed is refused, not the other way round")
	}
}
