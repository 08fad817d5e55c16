package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	background = context.Background()
	start      = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
	alice      = token.Owner{Realm: "local", Name: "alice"}
	bob        = token.Owner{Realm: "corp", Name: "bob/x"}
)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// fataler is what tests and rapid's have in common.
type fataler interface {
	Helper()
	Fatal(...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func update(t fataler, s store.Store, fn func(store.Writer) error) {
	t.Helper()
	must(t, s.Update(background, fn))
}

func view(t fataler, s store.Store, fn func(store.Reader) error) {
	t.Helper()
	must(t, s.View(background, fn))
}

// both runs a test over a store in memory and over one in a file.
func both(t *testing.T, test func(*testing.T, store.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, memory.New()) })
	t.Run("bolt", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.db")
		must(t, bolt.Create(path))
		s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true})
		must(t, err)
		defer s.Close()
		test(t, s)
	})
}

// tokenID is the id of the nth token of a second.
func tokenID(made time.Time, n int) token.ID {
	id := secret.NewID(made)
	copy(id[4:], []byte{0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return id
}

// userToken is a live token as small as they come.
func userToken(n int, o token.Owner) token.Record {
	made := at(n)
	return token.Record{
		ID: tokenID(made, n), Kind: token.User, Owner: o, CreatedAt: made, CreatedBy: o,
		Verifier: secret.Verifier{1, 1, byte(n)}, Revision: 1, LastChange: token.Made,
	}
}

// refreshToken has a name, an end and what else refresh tokens have.
func refreshToken(n int, o token.Owner, name string) token.Record {
	r := userToken(n, o)
	r.Kind, r.Name, r.Connection, r.Audience, r.Roles = token.Refresh, name, "default", "urn:x:y", []token.Role{"reader"}
	r.ExpiresAt = r.CreatedAt.Add(token.Day)
	return r
}

func serviceToken(n int, o token.Owner, service string) token.Record {
	r := userToken(n, o)
	r.Kind, r.Service = token.Service, service
	return r
}

func put(t fataler, s store.Store, records ...token.Record) {
	t.Helper()
	update(t, s, func(w store.Writer) error {
		for i := range records {
			if err := store.PutToken(w, nil, &records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// change reads a token, changes it and writes it back.
func change(t fataler, s store.Store, id token.ID, fn func(*token.Record)) {
	t.Helper()
	update(t, s, func(w store.Writer) error {
		was, err := store.GetToken(w, id)
		if err != nil {
			return err
		}
		now := was
		fn(&now)
		now.Revision++
		return store.PutToken(w, &was, &now)
	})
}

func remove(t fataler, s store.Store, id token.ID) {
	t.Helper()
	update(t, s, func(w store.Writer) error {
		was, err := store.GetToken(w, id)
		if err != nil {
			return err
		}
		return store.DeleteToken(w, &was)
	})
}

// dump is all that is in a store.
func dump(t fataler, s store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	view(t, s, func(r store.Reader) error {
		clear(all)
		for e, err := range r.Scan(nil, nil) {
			if err != nil {
				return err
			}
			all[string(e.Key)] = string(e.Value)
		}
		return nil
	})
	return all
}

// holder is the token that holds the slot of a token like want, or none.
func holder(t fataler, s store.Store, want token.Record) (id token.ID) {
	t.Helper()
	view(t, s, func(r store.Reader) error {
		rec, err := store.Slot(r, &want)
		id = rec.ID
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return id
}

// Generators of everything that is kept. Texts are any bytes, empty ones and
// zero bytes among them, times whole seconds from 1970 to 9999.
var (
	someText = rapid.OneOf(
		rapid.SampledFrom([]string{"", "a", "ab", "a/b", "\x00", "a\x00", "\x00\x01", "\x00\xff", "\xff", "a\xff"}),
		rapid.StringN(0, 12, 40),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) string { return string(b) }),
	)
	someTime = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 3).Draw(t, "ever") == 0 {
			return time.Time{}
		}
		return time.Unix(rapid.OneOf(rapid.Int64Range(1, 253402300799), rapid.SampledFrom([]int64{1, 253402300799})).Draw(t, "second"), 0).UTC()
	})
	someDuration = rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(token.MaxLifetime/time.Second)).Draw(t, "seconds")) * time.Second
	})
	someBytes = rapid.Custom(func(t *rapid.T) []byte {
		if b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes"); len(b) > 0 {
			return b
		}
		return nil
	})
	someOwner = rapid.Custom(func(t *rapid.T) token.Owner {
		return token.Owner{Realm: someText.Draw(t, "realm"), Name: someText.Draw(t, "name")}
	})
	someRoles = rapid.Custom(func(t *rapid.T) (roles []token.Role) {
		for range rapid.IntRange(0, 4).Draw(t, "roles") {
			roles = append(roles, token.Role(someText.Draw(t, "role")))
		}
		return roles
	})
	someID = rapid.Custom(func(t *rapid.T) (id token.ID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), len(id), len(id)).Draw(t, "id"))
		return id
	})
)

var someRecord = rapid.Custom(func(t *rapid.T) token.Record {
	r := token.Record{
		ID: someID.Draw(t, "id"), Kind: token.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Owner: someOwner.Draw(t, "owner"),
		Name: someText.Draw(t, "name"), Service: someText.Draw(t, "service"), Connection: someText.Draw(t, "connection"),
		Audience: someText.Draw(t, "audience"), Roles: someRoles.Draw(t, "roles"),
		CreatedAt: someTime.Draw(t, "created"), CreatedBy: someOwner.Draw(t, "maker"), ExpiresAt: someTime.Draw(t, "expires"),
		SuspendedAt: someTime.Draw(t, "suspended"), RevokedAt: someTime.Draw(t, "revoked"), RotatedAt: someTime.Draw(t, "rotated"),
		Verifier: someBytes.Draw(t, "verifier"), LastChange: token.Change(rapid.IntRange(0, 2).Draw(t, "change")), Revision: rapid.Uint64().Draw(t, "revision"),
	}
	if rapid.Bool().Draw(t, "own") {
		r.CreatedBy = r.Owner
	}
	if rapid.Bool().Draw(t, "with undo") {
		r.Undo = &token.RotationState{
			RotatedAt: someTime.Draw(t, "rotated before"), Previous: someBytes.Draw(t, "previous before"),
			PreviousUntil: someTime.Draw(t, "grace before"), PreviousUntilUsed: rapid.Bool().Draw(t, "used before"),
		}
	}
	if rapid.Bool().Draw(t, "with replaced") {
		r.Replaced = &token.Replaced{ID: someID.Draw(t, "replaced"), Verifier: someBytes.Draw(t, "verifier of the replaced")}
	}
	if rapid.Bool().Draw(t, "with family") {
		r.Family = &token.Family{Tag: someText.Draw(t, "tag"), Before: someText.Draw(t, "tag before")}
		for range rapid.IntRange(0, 4).Draw(t, "retries") {
			r.Family.Retries = append(r.Family.Retries, token.Retry{Verifier: someBytes.Draw(t, "used up"), Until: someTime.Draw(t, "window"), Sealed: someBytes.Draw(t, "sealed")})
		}
	}
	// What goes with a suspension, revocation or rotation is only there with it.
	if !r.SuspendedAt.IsZero() {
		r.SuspendedUntil = someTime.Draw(t, "until")
	}
	if !r.RevokedAt.IsZero() {
		r.RevokedBy, r.RevokedReason = someOwner.Draw(t, "by"), someText.Draw(t, "why")
	}
	if !r.RotatedAt.IsZero() {
		r.Previous, r.PreviousUntil, r.PreviousUntilUsed = someBytes.Draw(t, "previous"), someTime.Draw(t, "grace"), rapid.Bool().Draw(t, "used")
	}
	return r
})

var someAccount = rapid.Custom(func(t *rapid.T) token.Account {
	return token.Account{
		Owner: someOwner.Draw(t, "owner"), Kind: token.AccountKind(someText.Draw(t, "kind")), DisplayName: someText.Draw(t, "display"),
		Roles: someRoles.Draw(t, "roles"), Steward: someOwner.Draw(t, "steward"), Disabled: rapid.Bool().Draw(t, "disabled"),
		CreatedAt: someTime.Draw(t, "created"), CreatedBy: someOwner.Draw(t, "maker"), Revision: rapid.Uint64().Draw(t, "revision"),
		EntryID: someText.Draw(t, "entry"), Successor: someText.Draw(t, "successor"), DirectoryRoles: someRoles.Draw(t, "given"), RolesAt: someTime.Draw(t, "given at"),
		WrongPasswords: rapid.IntRange(0, 100).Draw(t, "wrong"), Identities: few(someIdentity).Draw(t, "identities"),
	}
})

var someIdentity = rapid.Custom(func(t *rapid.T) token.LinkedIdentity {
	return token.LinkedIdentity{
		ExternalIdentity: token.ExternalIdentity{Issuer: someText.Draw(t, "issuer"), Claim: someText.Draw(t, "claim"), Subject: someText.Draw(t, "subject")},
		Roles:            someRoles.Draw(t, "roles"), RolesUntil: someTime.Draw(t, "until"), RolesBy: someText.Draw(t, "rules"), SaidAt: someTime.Draw(t, "said"),
	}
})

// few are some of them; nil: none.
func few[T any](g *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.Map(rapid.SliceOfN(g, 0, 3), func(all []T) []T {
		if len(all) == 0 {
			return nil
		}
		return all
	})
}

var someProvider = rapid.Custom(func(t *rapid.T) token.Provider {
	text := func(what string) string { return someText.Draw(t, what) }
	algorithm := rapid.Map(someText, func(s string) token.Algorithm { return token.Algorithm(s) })
	mapping := rapid.Custom(func(t *rapid.T) token.RoleMapping {
		return token.RoleMapping{From: someText.Draw(t, "from"), Role: token.Role(someText.Draw(t, "role"))}
	})
	required := rapid.Custom(func(t *rapid.T) token.ClaimValue {
		return token.ClaimValue{Claim: someText.Draw(t, "claim"), Value: someText.Draw(t, "value")}
	})
	return token.Provider{
		Name: text("name"), Issuer: text("issuer"), Audiences: few(someText).Draw(t, "audiences"), JWKSURL: text("url"),
		Certificates: few(rapid.SliceOfN(rapid.Byte(), 1, 9)).Draw(t, "certificates"), Algorithms: few(algorithm).Draw(t, "algorithms"),
		Claim: text("claim"), RoleClaim: text("role claim"), RoleMap: few(mapping).Draw(t, "map"), Require: few(required).Draw(t, "require"), Unlinked: rapid.Bool().Draw(t, "unlinked"),
		ClientID: text("client"), Leeway: someDuration.Draw(t, "leeway"), Disabled: rapid.Bool().Draw(t, "disabled"),
		CreatedAt: someTime.Draw(t, "created"), CreatedBy: someOwner.Draw(t, "maker"), Revision: rapid.Uint64().Draw(t, "revision"),
	}
})

var someConnection = rapid.Custom(func(t *rapid.T) token.Connection {
	return token.Connection{
		Name: someText.Draw(t, "name"), EntityID: someText.Draw(t, "entity"), AccessLifetime: someDuration.Draw(t, "life"),
		RoleClaim: someText.Draw(t, "claim"), Roles: someRoles.Draw(t, "roles"), Algorithm: token.Algorithm(someText.Draw(t, "algorithm")),
		Rotate: rapid.Bool().Draw(t, "rotate"), Reuse: token.Reuse(someText.Draw(t, "reuse")), RetryWindow: someDuration.Draw(t, "window"),
		AuthMethod: token.AuthMethod(someText.Draw(t, "method")), SecretVerifier: someBytes.Draw(t, "verifier"), SecretSince: someTime.Draw(t, "since"),
		CreatedAt: someTime.Draw(t, "created"), Revision: rapid.Uint64().Draw(t, "revision"),
	}
})

var somePolicy = rapid.Custom(func(t *rapid.T) token.Policy {
	return token.Policy{
		UserTokenLifetime: someDuration.Draw(t, "user"), ServiceTokenLifetime: someDuration.Draw(t, "service"),
		RefreshTokenLifetime: someDuration.Draw(t, "refresh"), RefreshTokenMaxLifetime: someDuration.Draw(t, "max"),
		AccessTokenMaxLifetime: someDuration.Draw(t, "access"), RefreshTokens: token.RefreshTokens(someText.Draw(t, "who")),
		Issuer: someText.Draw(t, "issuer"), Retention: someDuration.Draw(t, "retention"),
		LongestAccessLifetime: someDuration.Draw(t, "longest"), Revision: rapid.Uint64().Draw(t, "revision"),
		DirectoryUnreachable: token.Unreachable(someText.Draw(t, "unreachable")), DirectoryMemory: someDuration.Draw(t, "memory"),
		PurgeBreaker: rapid.IntRange(0, 100).Draw(t, "breaker"), Lockout: rapid.IntRange(1, 100).Draw(t, "lockout"),
		FederatedTokenLifetime: someDuration.Draw(t, "federated"),
	}
})

var someUse = rapid.Custom(func(t *rapid.T) token.Use {
	return token.Use{At: someTime.Draw(t, "at"), From: someText.Draw(t, "from")}
})
