package authoritytest

import (
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var generating = []rule{
	{"A token is what was asked for", generateGives},
	{"A second user token is a conflict that names the first and the ways out", userConflict},
	{"The name of a refresh token is its owner's only once among the live", refreshConflict},
	{"What has ended gives its place free, what is suspended does not", generateAgain},
	{"Of many at once one is made", generateAtOnce},
	{"A request that makes no sense changes nothing", generateNonsense},
	{"Lifetimes follow the policy", generateLifetimes},
	{"Expiry is fixed when the token is made", expiryIsFixed},
	{"The owner needs an account that is not disabled", generateForOwner},
	{"Refresh tokens are for administrators if the policy says so", administratorsOnly},
	{"A refresh token belongs to a connection and has roles that it offers", generateConnection},
	{"A narrowed credential makes nothing wider", generateNarrowed},
}

func generateGives(w *world) {
	u := w.generate(w.alice, user())
	w.equal("the user token", u.Token, token.Token{Status: token.Active, Record: token.Record{
		ID: u.Token.ID, Kind: token.User, Owner: local("alice"), CreatedAt: w.second(), CreatedBy: local("alice"), LastChange: token.Made, Revision: 1,
	}})
	if u.Token.ID.IsZero() || !u.Token.ID.Time().Equal(w.second()) {
		w.Errorf("the id %s is of %s", u.Token.ID, u.Token.ID.Time())
	}
	spec := token.Spec{Kind: token.Refresh, Owner: local("alice"), Name: "ci", Roles: []token.Role{"reader", "operator"}, Lifetime: token.Day}
	r := w.generate(w.root, spec)
	w.equal("the refresh token", r.Token, token.Token{Status: token.Active, Record: token.Record{
		ID: r.Token.ID, Kind: token.Refresh, Owner: local("alice"), Name: "ci", Connection: "default", Audience: "urn:tokenctl:default",
		Roles: spec.Roles, CreatedAt: w.second(), CreatedBy: local("root"), ExpiresAt: w.second().Add(token.Day), LastChange: token.Made, Revision: 1,
	}})
	for _, i := range []authority.Issued{u, r} {
		w.equal("what Get shows", w.get(i.Token.ID), i.Token)
		w.accepts(i.Secret)
	}
	if !strings.HasPrefix(u.Secret.Reveal(), "tkp_"+u.Token.ID.String()) || !strings.HasPrefix(r.Secret.Reveal(), "tkr_"+r.Token.ID.String()) {
		w.Error("the secrets do not hold their ids")
	}
}

func userConflict(w *world) {
	first := w.generate(w.alice, user())
	w.wait(3 * token.Day)
	check := func(words ...string) {
		w.Helper()
		w.unchanged("a second user token", func() {
			for _, s := range []authority.Service{w.alice, w.root} {
				got, err := s.Generate(background, owned(user(), "alice"))
				w.fails(err, token.ErrConflict)
				if !got.Secret.IsZero() {
					w.Error("a secret comes with the conflict")
				}
				var e *token.Error
				if !errors.As(err, &e) || !strings.Contains(e.Hint, "rotate") || !strings.Contains(e.Hint, "delete") {
					w.Errorf("the hint does not name the two ways out: %#v", err)
				}
				for _, word := range append(words, first.Token.ID.String(), "3 days ago") {
					if !strings.Contains(err.Error(), word) {
						w.Errorf("the conflict does not say %q: %v", word, err)
					}
				}
			}
		})
	}
	check("never used")
	w.use(first.Secret, "192.0.2.1")
	w.wait(2 * time.Hour)
	check("2 hours ago")
	w.generate(w.bob, user()) // of another owner
}

func refreshConflict(w *world) {
	w.generate(w.alice, named("ci"))
	_, err := w.alice.Generate(background, named("ci"))
	w.fails(err, token.ErrConflict)
	w.generate(w.alice, named("CI"))
	w.generate(w.bob, named("ci"))
	w.generate(w.alice, named(""))
	w.generate(w.alice, named(""))
	w.generate(w.alice, user())
	if n := len(w.list(w.alice, token.Selector{Owner: local("alice")})); n != 5 {
		w.Errorf("alice has %d tokens", n)
	}
}

func generateAgain(w *world) {
	for _, c := range []struct {
		how string
		end func(authority.Issued)
		ok  bool
	}{
		{"nothing", func(authority.Issued) {}, false},
		{"suspended", func(i authority.Issued) { w.must(w.root.Suspend(background, refs(i), time.Time{})) }, false},
		{"rotated", func(i authority.Issued) {
			_, err := w.root.Rotate(background, ref(i), authority.Rotation{})
			w.must(err)
		}, false},
		{"a nanosecond before expiry", func(i authority.Issued) { w.until(i.Token.ExpiresAt.Add(-1)) }, false},
		{"expired", func(i authority.Issued) { w.until(i.Token.ExpiresAt) }, true},
		{"revoked", func(i authority.Issued) { w.must(w.root.Revoke(background, refs(i), "")) }, true},
		{"deleted", func(i authority.Issued) { w.must(w.root.Delete(background, refs(i))) }, true},
		{"taken back", func(i authority.Issued) { w.must(w.root.TakeBack(background, ref(i))) }, true},
	} {
		for _, spec := range []token.Spec{lasting(user(), time.Hour), lasting(named("ci"), time.Hour)} {
			first := w.generate(w.alice, spec)
			c.end(first)
			second, err := w.alice.Generate(background, spec)
			if (err == nil) != c.ok {
				w.Errorf("%s after %s: %v", spec.Kind, c.how, err)
			}
			if err != nil {
				w.fails(err, token.ErrConflict)
				w.must(w.root.Delete(background, refs(first)))
				continue
			}
			w.accepts(second.Secret)
			// What comes after the successor is a conflict again, and the
			// end of the predecessor does not make room.
			_, err = w.alice.Generate(background, spec)
			w.fails(err, token.ErrConflict)
			if c.how == "expired" {
				w.must(w.root.Revoke(background, refs(first), ""))
				_, err = w.alice.Generate(background, spec)
				w.fails(err, token.ErrConflict)
			}
			w.must(w.root.Delete(background, refs(second)))
		}
	}
	if rep, err := w.root.Check(background, true); err != nil || len(rep.Problems) > 0 {
		w.Errorf("the store is not whole: %q, %v", rep.Problems, err)
	}
}

func generateAtOnce(w *world) {
	for _, spec := range []token.Spec{user(), named("ci")} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var made []authority.Issued
		for range 12 {
			wg.Go(func() {
				i, err := w.alice.Generate(background, spec)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made = append(made, i)
				} else {
					w.fails(err, token.ErrConflict)
				}
			})
		}
		wg.Wait()
		if len(made) != 1 {
			w.Fatalf("%d of 12 were made", len(made))
		}
		w.accepts(made[0].Secret)
		if all := w.list(w.alice, token.Selector{Owner: local("alice"), Kind: spec.Kind, Ended: true}); len(all) != 1 || all[0].ID != made[0].Token.ID {
			w.Errorf("there are %v", ids(all))
		}
	}
}

func generateNonsense(w *world) {
	w.unchanged("a request that makes no sense", func() {
		for what, spec := range map[string]token.Spec{
			"no kind":             {},
			"an access token":     {Kind: token.Access},
			"name like an id":     named("0123456789abcdef"),
			"name with a control": named("a\x1b"),
			"name for a user":     {Kind: token.User, Name: "ci"},
			"roles for a user":    {Kind: token.User, Roles: []token.Role{"reader"}},
			"bad role":            refresh("two words"),
			"negative lifetime":   lasting(user(), -time.Hour),
			"least lifetime":      lasting(user(), math.MinInt64),
			"short lifetime":      lasting(user(), time.Millisecond),
			"a billion days":      lasting(user(), math.MaxInt64),
		} {
			if _, err := w.alice.Generate(background, spec); !errors.Is(err, token.ErrUsage) {
				w.Errorf("%s: %v", what, err)
			}
		}
		for _, spec := range []token.Spec{{Kind: token.Service, Service: "nowhere"}, {Kind: token.Refresh, Connection: "nowhere"}} {
			_, err := w.alice.Generate(background, spec)
			w.fails(err, token.ErrNotFound)
		}
	})
}

func generateLifetimes(w *world) {
	life := func(spec token.Spec) time.Duration {
		w.Helper()
		i := w.generate(w.alice, spec)
		w.must(w.alice.Delete(background, refs(i)))
		if i.Token.ExpiresAt.IsZero() {
			return 0
		}
		return i.Token.ExpiresAt.Sub(i.Token.CreatedAt)
	}
	refused := func(spec token.Spec) {
		w.Helper()
		_, err := w.alice.Generate(background, spec)
		w.fails(err, token.ErrUsage)
	}
	w.equal("a user token's life", life(user()), time.Duration(0))
	w.equal("a user token's life, asked for", life(lasting(user(), token.MaxLifetime)), token.MaxLifetime)
	w.equal("a refresh token's life", life(refresh()), 7*token.Day)
	w.equal("a refresh token's longest life", life(lasting(refresh(), 365*token.Day)), 365*token.Day)
	refused(lasting(refresh(), 365*token.Day+time.Second))

	w.set(w.root, "user_token_lifetime", "30d")
	w.set(w.root, "refresh_token_lifetime", "1d")
	w.set(w.root, "refresh_token_max_lifetime", "2d")
	w.equal("a user token's life by policy", life(user()), 30*token.Day)
	w.equal("a user token's shorter life", life(lasting(user(), time.Second)), time.Second)
	refused(lasting(user(), 30*token.Day+time.Second))
	w.equal("a refresh token's life by policy", life(refresh()), token.Day)
	w.equal("a refresh token's longest life by policy", life(lasting(refresh(), 2*token.Day)), 2*token.Day)
	refused(lasting(refresh(), 2*token.Day+time.Second))

	// Nothing lasts longer than was said.
	i := w.generate(w.alice, lasting(refresh(), 90*time.Second+999*time.Millisecond))
	w.equal("a life of a part of a second", i.Token.ExpiresAt, w.second().Add(90*time.Second))
	w.equal("what is stored of it", w.get(i.Token.ID), i.Token)
}

func expiryIsFixed(w *world) {
	forever, week := w.generate(w.alice, user()), w.generate(w.alice, refresh())
	w.set(w.root, "user_token_lifetime", "1h")
	w.set(w.root, "refresh_token_lifetime", "1h")
	w.set(w.root, "refresh_token_max_lifetime", "1h")
	w.wait(2 * time.Hour)
	w.accepts(forever.Secret)
	w.accepts(week.Secret)
	w.equal("the end of the first", w.get(forever.Token.ID).ExpiresAt, time.Time{})
	w.equal("the end of the second", w.get(week.Token.ID).ExpiresAt, week.Token.ExpiresAt)

	hour := w.generate(w.bob, user())
	w.set(w.root, "user_token_lifetime", "unlimited")
	w.until(hour.Token.ExpiresAt)
	w.refuses(hour.Secret, authority.TokenExpired)
}

func generateForOwner(w *world) {
	w.equal("who made it", w.generate(w.root, owned(user(), "bob")).Token.CreatedBy, local("root"))
	for what, c := range map[string]struct {
		s    authority.Service
		name string
		kind error
	}{
		"nobody, by an administrator": {w.root, "nobody", token.ErrNotFound},
		"nobody, by alice":            {w.alice, "nobody", token.ErrRefused},
		"bob, by alice":               {w.alice, "bob", token.ErrRefused},
		"bob, by an auditor":          {w.auditor, "bob", token.ErrRefused},
	} {
		w.unchanged(what, func() {
			_, err := c.s.Generate(background, owned(refresh(), c.name))
			w.fails(err, c.kind)
		})
	}
	w.disable("alice")
	for _, s := range []authority.Service{w.alice, w.root} {
		_, err := s.Generate(background, owned(user(), "alice"))
		w.fails(err, token.ErrRefused)
	}
}

func administratorsOnly(w *world) {
	w.set(w.root, "refresh_tokens", "administrators")
	for what, s := range map[string]authority.Service{
		"alice": w.alice, "an auditor": w.auditor, "an administrator's credential without that role": w.narrowed("admin", "reader"),
	} {
		_, err := s.Generate(background, refresh())
		if !errors.Is(err, token.ErrRefused) {
			w.Errorf("%s: %v", what, err)
		}
	}
	w.generate(w.alice, user())
	w.generate(w.admin, refresh())
	w.generate(w.root, refresh())
	w.generate(w.admin, owned(refresh(), "alice"))
}

func generateConnection(w *world) {
	conn := token.NewConnection("crm")
	conn.EntityID, conn.Roles = "https://crm.example.org", []token.Role{"reader"}
	_, err := w.root.AddConnection(background, conn)
	w.must(err)
	spec := refresh("reader")
	spec.Connection = "crm"
	i := w.generate(w.alice, spec)
	w.equal("audience and connection", []string{i.Token.Connection, i.Token.Audience}, []string{"crm", "https://crm.example.org"})
	spec.Roles = []token.Role{"reader", "writer"}
	_, err = w.alice.Generate(background, spec)
	w.fails(err, token.ErrUsage)
}

func generateNarrowed(w *world) {
	reader := w.narrowed("alice", "reader")
	refused := func(s authority.Service, spec token.Spec) {
		w.Helper()
		w.unchanged("a wider token", func() {
			_, err := s.Generate(background, spec)
			w.fails(err, token.ErrRefused)
		})
	}
	refused(reader, user()) // which would have both of alice's roles
	refused(reader, refresh("writer"))
	refused(reader, refresh("reader", "writer"))
	refused(reader, refresh(token.Admin))
	refused(w.narrowed("alice"), refresh("reader"))
	refused(w.narrowed("alice", "operator"), refresh("operator")) // narrowed to what alice has not
	refused(w.narrowed("admin", "reader"), user())
	refused(w.narrowed("admin", "reader"), owned(refresh("reader"), "alice"))

	i := w.generate(reader, refresh("reader"))
	w.equal("its roles", w.accepts(i.Secret).Roles, []token.Role{"reader"})
	w.generate(reader, refresh())
	// A user token has the roles of tomorrow too, which a narrowed credential
	// with all of today's will not have.
	refused(w.narrowed("alice", "writer", "reader"), user())
	refused(w.narrowed("admin", token.Admin), owned(user(), "bob"))
	w.generate(w.alice, user())

	// The new secret of a token has all rights of that token.
	wide := w.generate(w.alice, refresh("reader", "writer"))
	for _, id := range []token.ID{wide.Token.ID, w.list(w.alice, token.Selector{Owner: local("alice"), Kind: token.User})[0].ID} {
		w.unchanged("rotating a wider token", func() {
			_, err := reader.Rotate(background, token.Ref{ID: id}, authority.Rotation{})
			w.fails(err, token.ErrRefused)
		})
	}
	_, err := reader.Rotate(background, ref(i), authority.Rotation{})
	w.must(err)
	w.must(reader.Revoke(background, refs(wide), "ending is no widening"))
}
