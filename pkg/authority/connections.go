package authority

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var connections = named[token.Connection]{
	table: store.Connections, article: "a", what: "connection", action: "connection",
	command: "tokenctl admin connection", list: "tokenctl admin connection list",
	head: func(c *token.Connection) head {
		return head{name: c.Name, createdAt: &c.CreatedAt, revision: &c.Revision}
	},
	text:  connectionText,
	shown: shownConnection,
}

// canonicalConnection checks what a request says of a connection, and brings it
// into the form that is stored.
func canonicalConnection(conn *token.Connection) error {
	conn.AuthMethod = cmp.Or(conn.AuthMethod, token.AuthNone)
	conn.AccessLifetime, conn.RetryWindow = conn.AccessLifetime.Truncate(time.Second), conn.RetryWindow.Truncate(time.Second)
	for _, r := range conn.Roles {
		if _, err := token.ParseRole(string(r)); err != nil {
			return err
		}
	}
	return conn.Check()
}

func connectionText(c, was *token.Connection) string {
	text := fmt.Sprintf("entity id %s, access lifetime %s, %s, role claim %s, %s on offer",
		c.EntityID, token.FormatDuration(c.AccessLifetime), c.Algorithm, c.RoleClaim, rolesText(c.Roles))
	if c.Rotate {
		text += fmt.Sprintf(", rotates, retry window %s, reuse %s", token.FormatDuration(c.RetryWindow), c.Reuse)
	}
	if c.Confidential() {
		text += fmt.Sprintf(", clients by %s", c.AuthMethod)
	} else if was != nil && !was.SecretSince.IsZero() {
		text += ", the client secret is dropped"
	}
	return text
}

// signingKeysFor makes the keys of an algorithm before the first token is
// signed with them, so that they are in the key set by then. Whoever may not
// change connections makes none.
func (s *session) signingKeysFor(ctx context.Context, a token.Algorithm) error {
	if err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "change connections", token.Admin) }); err != nil {
		return err
	}
	_, err := s.installKeys(ctx, a)
	return err
}

// AddConnection implements [Connections].
func (s *session) AddConnection(ctx context.Context, conn token.Connection) (token.Connection, error) {
	if err := canonicalConnection(&conn); err != nil {
		return conn, err
	}
	if err := s.signingKeysFor(ctx, conn.Algorithm); err != nil {
		return conn, err
	}
	return connections.add(ctx, s, conn, func(_ *change, now *token.Connection) error {
		now.SecretVerifier, now.SecretSince = nil, time.Time{}
		return nil
	})
}

// Connection implements [Connections].
func (s *session) Connection(ctx context.Context, name string) (token.Connection, error) {
	return connections.get(ctx, s, name)
}

// ListConnections implements [Connections].
func (s *session) ListConnections(ctx context.Context) iter.Seq2[token.Connection, error] {
	return connections.all(ctx, s)
}

// SetConnection implements [Connections].
func (s *session) SetConnection(ctx context.Context, conn token.Connection) (token.Connection, error) {
	asBefore := conn.AuthMethod == ""
	if err := canonicalConnection(&conn); err != nil {
		return conn, err
	}
	if err := s.signingKeysFor(ctx, conn.Algorithm); err != nil {
		return conn, err
	}
	return connections.set(ctx, s, conn, func(_ *change, now, was *token.Connection) error {
		if asBefore {
			now.AuthMethod = was.AuthMethod
		}
		now.SecretVerifier, now.SecretSince = nil, time.Time{}
		if now.Confidential() {
			now.SecretVerifier, now.SecretSince = was.SecretVerifier, was.SecretSince
		}
		return nil
	})
}

// DeleteConnection implements [Connections].
func (s *session) DeleteConnection(ctx context.Context, name string) error {
	if err := connections.mayRemove(ctx, s, name); err != nil {
		return err
	}
	// A token that is generated after this look is refused at its exchange.
	live, err := s.anyLive(ctx, token.Selector{Kind: token.Refresh, Connection: name})
	if err != nil {
		return err
	}
	if live != nil {
		return token.Errorf(token.ErrConflict, "live refresh tokens belong to connection %q, %s among them", name, live.ID).
			WithHint("revoke them first: tokenctl revoke --all-owners --kind refresh --connection %s", name)
	}
	return connections.remove(ctx, s, name, func(*change) error { return nil })
}

// anyLive is some live token of those that are selected; nil: there is none.
func (s *session) anyLive(ctx context.Context, sel token.Selector) (*token.Token, error) {
	for t, err := range s.List(ctx, sel) {
		if err != nil {
			return nil, err
		}
		return &t, nil
	}
	return nil, nil
}
