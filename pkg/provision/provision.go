// Package provision carries the secrets of service tokens into other systems:
// it says what a [Provisioner] must do, keeps what is to be delivered in the
// transaction that changes a token, and delivers it until it is acknowledged.
// It does not know when a token is good: its user tells.
package provision

import (
	"context"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A Provisioner carries the secrets of service tokens into another system. All
// methods may be called by many goroutines at once.
type Provisioner interface {
	// Name is unique among the provisioners, and never changes: what is
	// stored goes by it.
	Name() string
	// Order says who comes first with one token: the lower one.
	Order() int
	// Serves says whether it has a place for an owner. The tokens of others
	// are none of its business.
	Serves(o token.Owner) bool
	// Prepare derives from a secret, while it is at hand, what Apply gives to
	// the other system: the text of a slow hash, most often, so it takes long.
	// It is called before the transaction that makes the token, and what it
	// returns is kept sealed. Its errors wrap a kind of package token, or
	// secret.ErrBusy.
	Prepare(ctx context.Context, t Target, s secret.Secret) ([]byte, error)
	// Apply makes the other system agree: it has each of e.Present, none of
	// e.Absent, and everything that is not ours untouched. To call it again
	// changes nothing. Nil is the acknowledgement; an error says in words for
	// an administrator what is wrong, and shows no value. Who was not known by an
	// EntryID it may fill in: it is kept. Apply returns soon
	// after ctx has ended, and changes nothing later.
	Apply(ctx context.Context, e *Event) error
}

// Target is who is somebody where.
type Target struct {
	Owner   token.Owner
	Service string
	// EntryID is what the owner's directory calls this person for ever; empty:
	// not known. Whoever has the name under another one is another person.
	EntryID string
}

// Event is what a [Provisioner] is told.
type Event struct {
	// ID is random, and the same at every attempt to deliver the event.
	ID    string
	Token token.ID
	Target
	// Present and Absent are what Prepare made. Both may be empty.
	Present, Absent [][]byte
}
