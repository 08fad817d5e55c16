// Package directory says what a directory must answer: whether an owner exists,
// whether a password is theirs, and what they may do. Its answers are three:
// present, absent, and cannot tell. It does not know what a directory is made
// of, nor what becomes of the tokens of those who are gone.
package directory

import (
	"context"
	"fmt"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// State is what a directory says of an owner. The zero value is CannotTell, so
// that an answer nobody has filled in removes nobody.
type State int

// The three answers.
const (
	CannotTell State = iota // neither yes nor no, see [Verdict].Why
	Absent                  // asked for, with certainty not there
	Present                 // there, exactly once
)

func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Present:
		return "present"
	}
	return "cannot tell"
}

// Identity is somebody whom a directory knows.
type Identity struct {
	Owner token.Owner // in canonical form
	// EntryID stays with the entry through renames and is never given twice, so
	// somebody with the name but not the id of another is another person. Empty
	// where a directory has none.
	EntryID     string
	DisplayName string
	Disabled    bool // the directory itself says that they may not log in
	// Groups are the owner's groups, in the directory's spelling, and Roles what
	// these stand for here, sorted. [Directory.Presence] leaves both empty: they
	// cost a question for each owner.
	Groups []string
	Roles  []token.Role
}

// Verdict is what a directory says of one owner.
type Verdict struct {
	Identity // of it only Owner, unless the owner is present
	State    State
	Why      string // for people: why not present
}

// Known is an owner as we remember them.
type Known struct {
	Owner   token.Owner
	EntryID string // empty: never learnt
}

// Of is the verdict on the person that we know: whoever has their name under
// another [Identity].EntryID is somebody else, and they are absent. Whether an
// entry without an id is theirs, nobody can tell.
func (v Verdict) Of(k Known) Verdict {
	switch {
	case v.State != Present || k.EntryID == "" || v.EntryID == k.EntryID:
		return v
	case strings.EqualFold(strings.TrimSpace(v.EntryID), strings.TrimSpace(k.EntryID)):
		v.State, v.Why = CannotTell, fmt.Sprintf("the entry id %q is nearly the one that we know, %q", v.EntryID, k.EntryID)
	case v.EntryID == "":
		v.State, v.Why = CannotTell, "the directory gives no unchanging id, and the account has one"
	default:
		v.State, v.Why = Absent, "the name is another person's now: the entry "+k.EntryID+" is gone, "+v.EntryID+" has its name"
	}
	return v
}

// Directory can be asked about the owners of one realm. It is safe for
// concurrent use. Every error but those of Canonical is a token.ErrCannotTell
// or, where it says so, a token.ErrRefused, and says for people what failed.
type Directory interface {
	// Realm is the realm whose owners it knows; never local.
	Realm() string

	// Canonical is the one form of an owner's name, by which everything goes:
	// making and verifying tokens, counting wrong passwords, purging. It asks
	// nobody. Of a canonical name it gives the same owner. The error is a
	// token.ErrUsage.
	Canonical(name string) (token.Owner, error)

	// Canary is somebody who is always there, or zero if none is named.
	// Presence and Lookup answer only in a session that has found the canary.
	Canary() token.Owner

	// Presence says who is there, a verdict for each owner in the order asked.
	// It is an error when the question could not be put at all, or not to its
	// end, and then there are no verdicts. The verdict on an owner of another
	// realm, or not in canonical form, is CannotTell.
	//
	// Absent is a reason to refuse somebody, not yet to remove what is theirs:
	// for that ask [Survey].
	Presence(ctx context.Context, owners []token.Owner) ([]Verdict, error)

	// Lookup is Presence of one owner, with groups and roles. If these cannot
	// be read it is an error.
	Lookup(ctx context.Context, owner token.Owner) (Verdict, error)

	// Authenticate says whose name and password these are, with groups and
	// roles. An empty password is refused before anybody is asked, since an
	// LDAP server takes it for an anonymous log-in and says yes (RFC 4513
	// §5.1.2). A wrong password, an unknown name, a disabled person and a
	// directory that keeps no passwords are token.ErrRefused, without saying
	// which to whom it may concern; the error's text is for the log.
	Authenticate(ctx context.Context, name string, password secret.Secret) (Identity, error)

	// Close ends its connections.
	Close() error
}

// Fold is the canonical form where upper and lower case are the same: that of
// [token.NewOwner], in lower case. Directories match names without regard to
// case, so two spellings kept apart here would be two owners of one person's
// entry, each with wrong passwords to spare.
//
// Directories match even more loosely (full-width forms, ligatures, runs of
// spaces; RFC 4518 §2.3), so a name that has a plainer form is none.
func Fold(realm, name string) (token.Owner, error) {
	if realm == token.LocalRealm {
		return token.Owner{}, token.Errorf(token.ErrUsage, "no directory has the realm %s", realm)
	}
	o, err := token.NewOwner(realm, name)
	if err != nil {
		return token.Owner{}, err
	}
	o, err = token.NewOwner(realm, strings.ToLower(o.Name)) // which may decompose and grow
	if err != nil {
		return token.Owner{}, err
	}
	if plain := token.PlainName(o.Name); plain != o.Name {
		return token.Owner{}, token.Errorf(token.ErrUsage, "the name %q has a plainer form", o.Name).WithHint("write it %q", plain)
	}
	return o, nil
}

// Doubt says why an owner cannot be asked about as it is: the realm is not d's,
// or the name not canonical. It is for implementations of Presence.
func Doubt(d Directory, o token.Owner) string {
	if o.Realm != d.Realm() {
		return "an owner of another realm than " + d.Realm()
	}
	c, err := d.Canonical(o.Name)
	switch {
	case err != nil:
		return err.Error()
	case c != o:
		return "not the canonical form, which is " + c.String()
	}
	return ""
}
