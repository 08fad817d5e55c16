// Package orphans finds the tokens of owners whom their directory no longer
// knows, and removes them. Its rules have one aim: whatever a directory does or
// fails to do, nobody loses a token who is still there. It does not know what a
// directory is made of, nor who looks at a plan.
package orphans

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Service finds and purges the tokens of owners whom their directory no longer
// knows. [Local] is the rules; a client of a server asks those there. Both need
// tokenctl:admin.
type Service interface {
	// Find asks the directories about exactly the owners that have tokens, and
	// changes nothing. It is token.ErrCannotTell if there is any doubt about
	// anybody: then there is no plan, not even one for the others.
	Find(ctx context.Context, q Query) (Plan, error)

	// Purge asks the directories again, and removes exactly the tokens of the
	// plan, or nothing: token.ErrCannotTell as in Find, token.ErrUnsafe if
	// there are more orphans than may be, token.ErrConflict if a token has
	// changed since, or somebody of the plan is there again. Each removal
	// leaves a tombstone and an audit record. It goes in batches: if it breaks
	// off, the same Purge again goes on with the others.
	Purge(ctx context.Context, p Plan, c Consent) (Report, error)
}

// Query says whom to ask about.
type Query struct {
	Realm string // empty: the realms of all directories
	// Progress hears of so many more owners asked about; may be nil.
	Progress func(more int)
}

// Consent is what a person has agreed to.
type Consent struct {
	// MaxOrphans is how many owners of one realm may be gone; 0: as many
	// percent of those asked about as the policy says, and two in any case.
	MaxOrphans int
	// Progress hears of so many more tokens removed; may be nil.
	Progress func(more int)
}

// Plan is what a purge would remove.
type Plan struct {
	TakenAt time.Time `json:"taken_at"`
	Realms  []Realm   `json:"realms"`
	Orphans []Orphan  `json:"orphans"` // by realm and name
	// Stewardless are service accounts for which nobody answers any more. They
	// are for a person to look at: no purge touches their tokens.
	Stewardless []Stewardless `json:"stewardless"`
	// Digest is of all the rest, and names the plan.
	Digest string `json:"digest"`
}

// Realm is what a directory said as a whole.
type Realm struct {
	Name     string `json:"realm"`
	Asked    int    `json:"asked"`    // owners with tokens
	Present  int    `json:"present"`  // those who are disabled there, too
	Disabled int    `json:"disabled"` // of those present
	Orphans  int    `json:"orphans"`
	Limit    int    `json:"limit"` // how many orphans may go without [Consent.MaxOrphans]
}

// Orphan is an owner whom their directory does not know.
type Orphan struct {
	Owner  token.Owner `json:"owner"`
	Why    string      `json:"why"`
	Tokens []Token     `json:"tokens"` // those that live
}

// Token is a token as it was seen.
type Token struct {
	ID       token.ID `json:"id"`
	Revision uint64   `json:"revision"`
	Kind     string   `json:"kind"`
	Name     string   `json:"name"` // of a service token its service
}

// Stewardless is a service account without a living steward.
type Stewardless struct {
	Account token.Owner `json:"account"`
	Steward token.Owner `json:"steward"`
	Why     string      `json:"why"`
}

// Report is what a purge has removed.
type Report struct {
	Plan        string        `json:"plan"` // its digest
	Realms      []Purged      `json:"realms"`
	Owners      int           `json:"owners"`
	Tokens      int           `json:"tokens"`
	Stewardless []Stewardless `json:"stewardless"`
}

// Purged is what was removed of one realm.
type Purged struct {
	Realm  string `json:"realm"`
	Asked  int    `json:"asked"`
	Owners int    `json:"owners"`
	Tokens int    `json:"tokens"`
}

// Options are what a [Local] stands on.
type Options struct {
	Store store.Store
	// Rules removes; *authority.Local is it.
	Rules interface {
		As(authority.Caller) authority.Service
		Require(ctx context.Context, c authority.Caller, what string, roles ...token.Role) error
	}
	Caller      authority.Caller
	Directories []directory.Directory
	Now         func() time.Time // nil: [time.Now]
}

// Local is the rules, for one caller.
type Local struct {
	Options
	service authority.Service
}

var _ Service = (*Local)(nil)

// New makes the rules over a store.
func New(o Options) *Local {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Local{Options: o, service: o.Rules.As(o.Caller)}
}

// mayPurge refuses everybody but administrators, whose own tokens could be
// revoked without being one.
func (l *Local) mayPurge(ctx context.Context) error {
	return l.Rules.Require(ctx, l.Caller, "purge orphans", token.Admin)
}

// directories are those of a realm, or all, by realm.
func (l *Local) directories(realm string) ([]directory.Directory, error) {
	if realm == "" {
		if len(l.Directories) == 0 {
			return nil, token.Errorf(token.ErrUsage, "there is no directory to ask").WithHint("the config file names them, in the list directories")
		}
		all := slices.Clone(l.Directories)
		slices.SortFunc(all, func(a, b directory.Directory) int { return cmp.Compare(a.Realm(), b.Realm()) })
		return all, nil
	}
	if d := l.directory(realm); d != nil {
		return []directory.Directory{d}, nil
	}
	if realm == token.LocalRealm {
		return nil, token.Errorf(token.ErrUsage, "no directory has the realm %s: its owners are never orphans", realm)
	}
	return nil, token.Errorf(token.ErrNotFound, "there is no directory of the realm %q", realm).WithHint("tokenctl admin directory list shows what there is")
}

func (l *Local) directory(realm string) directory.Directory {
	for _, d := range l.Directories {
		if d.Realm() == realm {
			return d
		}
	}
	return nil
}

// breakerLeast is how many may be gone of a small realm.
const breakerLeast = 2

// limitOf is how many of those asked about may be gone: more are rather a fault
// of the directory.
func limitOf(asked, percent int) int { return max(breakerLeast, asked*percent/100) }

// breaker stops a purge that would hit more owners of a realm than may be.
func breaker(r Realm, c Consent) error {
	if limit := cmp.Or(c.MaxOrphans, r.Limit); r.Orphans > limit {
		return token.Errorf(token.ErrUnsafe, "%d of the %d owners of the realm %s would be orphans, more than %d; nothing was removed", r.Orphans, r.Asked, r.Name, limit).
			WithHint("if they are really gone: --max-orphans %d", r.Orphans)
	}
	return nil
}
