package cmd

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// selectorFlags are the flags that choose tokens, the same for all commands
// that can take many.
type selectorFlags struct {
	kind, owner, realm, service, connection, role, status, name string
	createdAfter, createdBefore, expiresWithin, unusedFor       string
	neverUsed, allOwners                                        bool
	changed                                                     func(string) bool
}

func (s *selectorFlags) bind(a *app, c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.kind, "kind", "", "only tokens of a kind: user, service, refresh")
	f.StringVar(&s.owner, "owner", "", "only tokens of an owner: realm/name, or name in the realm local")
	f.StringVar(&s.realm, "realm", "", "only tokens of owners in a realm")
	f.StringVar(&s.service, "service", "", "only tokens for a service")
	f.StringVar(&s.connection, "connection", "", "only refresh tokens of a connection")
	f.StringVar(&s.role, "role", "", "only refresh tokens with a role")
	f.StringVar(&s.status, "status", "", "only tokens in a state: active, suspended, expired, revoked")
	f.StringVar(&s.name, "name", "", "only tokens whose name matches a pattern, such as ci-*")
	f.StringVar(&s.createdAfter, "created-after", "", "made at or after a time (RFC 3339, a date, or an age such as 90d)")
	f.StringVar(&s.createdBefore, "created-before", "", "made before a time")
	f.StringVar(&s.expiresWithin, "expires-within", "", "expiring within a time such as 14d")
	f.StringVar(&s.unusedFor, "unused-for", "", "not used for a time such as 90d")
	f.BoolVar(&s.neverUsed, "never-used", false, "never used")
	f.BoolVar(&s.allOwners, "all-owners", false, "tokens of all owners (administrators and auditors)")
	s.changed = f.Changed
	a.completeSelectors(c)
}

// selectorNames are the flags that narrow a choice.
var selectorNames = []string{
	"kind", "owner", "realm", "service", "connection", "role", "status", "name",
	"created-after", "created-before", "expires-within", "unused-for", "never-used", "all-owners",
}

// given says whether any flag chooses.
func (s *selectorFlags) given() bool {
	for _, name := range selectorNames {
		if s.changed(name) {
			return true
		}
	}
	return false
}

// choosesBeyondOwner: with names, --owner only says whose names they are.
func (s *selectorFlags) choosesBeyondOwner() bool {
	return slices.ContainsFunc(selectorNames, func(n string) bool { return n != "owner" && s.changed(n) })
}

// selector reads the flags. Tokens are the caller's own unless an owner, a
// realm or all owners are named.
func (s *selectorFlags) selector(me token.Owner, now time.Time) (token.Selector, error) {
	sel := token.Selector{
		Realm: s.realm, Service: s.service, Connection: s.connection, Role: token.Role(s.role),
		Name: s.name, NeverUsed: s.neverUsed,
	}
	if s.allOwners && s.owner != "" {
		return sel, token.Errorf(token.ErrUsage, "--owner and --all-owners exclude each other")
	}
	if err := s.named(&sel, me); err != nil {
		return sel, err
	}
	if err := s.timed(&sel, now); err != nil {
		return sel, err
	}
	return sel, sel.Check()
}

func (s *selectorFlags) named(sel *token.Selector, me token.Owner) (err error) {
	if s.kind != "" {
		if sel.Kind, err = token.ParseKind(s.kind); err != nil {
			return err
		}
	}
	if s.status != "" {
		if sel.Status, err = token.ParseStatus(s.status); err != nil {
			return err
		}
	}
	for _, n := range []struct{ what, name string }{{"realm", s.realm}, {"service", s.service}, {"connection", s.connection}, {"role", s.role}} {
		if n.name == "" {
			continue
		}
		if err := token.CheckName(n.what, n.name); err != nil {
			return err
		}
	}
	switch {
	case s.owner != "":
		sel.Owner, err = token.ParseOwner(s.owner)
	case !s.allOwners && s.realm == "":
		sel.Owner = me
	}
	return err
}

func (s *selectorFlags) timed(sel *token.Selector, now time.Time) error {
	for _, t := range []struct {
		flag, text string
		to         *time.Time
		ahead      bool
	}{
		{"created-after", s.createdAfter, &sel.CreatedAfter, false},
		{"created-before", s.createdBefore, &sel.CreatedBefore, false},
		{"expires-within", s.expiresWithin, &sel.ExpiresBefore, true},
		{"unused-for", s.unusedFor, &sel.UnusedSince, false},
	} {
		if t.text == "" {
			continue
		}
		at, err := parseTime(t.text, now, t.ahead)
		if err != nil {
			return token.Errorf(token.ErrUsage, "--%s: %w", t.flag, err).WithHint("write 2026-01-31T12:00:00Z, 2026-01-31 (UTC), or an age such as 90d")
		}
		*t.to = at
	}
	return nil
}

// parseTime reads RFC 3339, a date (midnight UTC), or a distance from now such
// as 90d: ahead of it or behind it. The zero time, which would stand for no
// limit at all, is no time, and neither is what RFC 3339 cannot write in UTC.
func parseTime(s string, now time.Time, ahead bool) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err == nil {
		if t = t.UTC(); t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
			return time.Time{}, token.Errorf(token.ErrUsage, "%q is not a time", s)
		}
		return t, nil
	}
	d, err := token.ParseDuration(s)
	if err != nil || d > token.MaxLifetime {
		return time.Time{}, token.Errorf(token.ErrUsage, "%q is not a time", s)
	}
	if ahead {
		return now.Add(d).UTC(), nil
	}
	return now.Add(-d).UTC(), nil
}
