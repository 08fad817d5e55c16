package token

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Selector chooses tokens. Every field that is set must match; the zero
// Selector matches all. Ranges of time are half open: from, but not until.
type Selector struct {
	Kind          Kind
	Owner         Owner // zero: any
	Realm         string
	Service       string
	Connection    string
	Role          Role
	Status        Status // empty: any that Ended allows
	Name          string // a glob as in [path.Match]
	CreatedAfter  time.Time
	CreatedBefore time.Time
	ExpiresBefore time.Time // also matches what has expired; never what never expires
	UnusedSince   time.Time // last used, or else made, before
	NeverUsed     bool
	Ended         bool // also expired and revoked ones
	After         ID   // only tokens with a later id: the cursor of a list in pages
}

// Check says what is wrong with the selector as such.
func (s *Selector) Check() error {
	if _, err := path.Match(s.Name, ""); err != nil {
		return Errorf(ErrUsage, "name pattern %q is garbled", s.Name).WithHint("use * for any text, ? for one character, [abc] for one of them")
	}
	if strings.Contains(s.Name, "[!") {
		// In a shell this means what [^ means here; taken literally it would
		// choose the very tokens that were to be left out.
		return Errorf(ErrUsage, "name pattern %q holds [!", s.Name).WithHint("all but these is [^abc]")
	}
	if !s.CreatedAfter.IsZero() && !s.CreatedBefore.IsZero() && !s.CreatedAfter.Before(s.CreatedBefore) {
		return Errorf(ErrUsage, "no time is after %s and before %s", s.CreatedAfter.Format(time.RFC3339), s.CreatedBefore.Format(time.RFC3339))
	}
	return nil
}

// Narrows says whether the selector demands anything at all but its owner.
func (s Selector) Narrows() bool {
	s.Owner, s.Ended, s.After = Owner{}, false, ID{}
	return s != Selector{}
}

// NeedsUse says whether a match depends on when a token was last used.
func (s *Selector) NeedsUse() bool { return s.NeverUsed || !s.UnusedSince.IsZero() }

// Match says whether a token is chosen.
func (s *Selector) Match(t *Token) bool {
	if s.Status != "" && t.Status != s.Status {
		return false
	}
	if s.Status == "" && !s.Ended && (t.Status == Expired || t.Status == Revoked) {
		return false
	}
	if s.Name != "" {
		if ok, err := path.Match(s.Name, t.Name); err != nil || !ok {
			return false
		}
	}
	return (s.After.IsZero() || t.ID.Compare(s.After) > 0) &&
		(s.Kind == 0 || t.Kind == s.Kind) &&
		(s.Owner.IsZero() || t.Owner == s.Owner) &&
		(s.Realm == "" || t.Owner.Realm == s.Realm) &&
		(s.Service == "" || t.Service == s.Service) &&
		(s.Connection == "" || t.Connection == s.Connection) &&
		(s.Role == "" || slices.Contains(t.Roles, s.Role)) &&
		s.matchTimes(t)
}

func (s *Selector) matchTimes(t *Token) bool {
	if !s.CreatedAfter.IsZero() && t.CreatedAt.Before(s.CreatedAfter) || !s.CreatedBefore.IsZero() && !t.CreatedAt.Before(s.CreatedBefore) {
		return false
	}
	if !s.ExpiresBefore.IsZero() && (t.ExpiresAt.IsZero() || !t.ExpiresAt.Before(s.ExpiresBefore)) {
		return false
	}
	if s.NeverUsed && !t.LastUsedAt.IsZero() {
		return false
	}
	if !s.UnusedSince.IsZero() {
		last := t.LastUsedAt
		if last.IsZero() {
			last = t.CreatedAt
		}
		return last.Before(s.UnusedSince)
	}
	return true
}
