package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func connection(r store.Reader, name string) (token.Connection, error) {
	c, err := store.Connections.Get(r, name)
	if errors.Is(err, store.ErrNotFound) {
		return c, token.Errorf(token.ErrNotFound, "there is no connection %q", name).WithHint("tokenctl admin connection list shows them")
	}
	return c, err
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

// connectionText is what the audit log says of a connection.
func connectionText(c *token.Connection) string {
	text := fmt.Sprintf("entity id %s, access lifetime %s, %s, role claim %s, %s on offer",
		c.EntityID, token.FormatDuration(c.AccessLifetime), c.Algorithm, c.RoleClaim, rolesText(c.Roles))
	if c.Rotate {
		text += fmt.Sprintf(", rotates, retry window %s, reuse %s", token.FormatDuration(c.RetryWindow), c.Reuse)
	}
	if c.Confidential() {
		text += fmt.Sprintf(", clients by %s", c.AuthMethod)
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
	err := s.once(ctx, func(c *change) (string, error) {
		if err := c.by.needs(c, "add connections", token.Admin); err != nil {
			return "", err
		}
		has, err := store.Connections.Has(c, conn.Name)
		if err != nil {
			return "", err
		}
		if has {
			return "", token.Errorf(token.ErrConflict, "there is a connection %q already", conn.Name).WithHint("change it: tokenctl admin connection set %s", conn.Name)
		}
		conn.CreatedAt, conn.Revision = c.now, 1
		conn.SecretVerifier, conn.SecretSince = nil, time.Time{}
		c.note(audit.Entry{Action: "connection.add", Object: conn.Name, Detail: connectionText(&conn)})
		return "", store.Connections.Put(c, conn)
	}, func(c *change, _ string) (err error) {
		c.note(audit.Entry{Action: "connection.add", Object: conn.Name, Detail: replayed})
		conn, err = store.Connections.Get(c, conn.Name)
		return goneSince(err)
	})
	return shownConnection(conn), err
}

// Connection implements [Connections].
func (s *session) Connection(ctx context.Context, name string) (conn token.Connection, err error) {
	err = s.view(ctx, func(r store.Reader) (err error) {
		conn, err = connection(r, name)
		return err
	})
	return shownConnection(conn), err
}

// ListConnections implements [Connections].
func (s *session) ListConnections(ctx context.Context) iter.Seq2[token.Connection, error] {
	return func(yield func(token.Connection, error) bool) {
		if err := s.view(ctx, func(store.Reader) error { return nil }); err != nil {
			yield(token.Connection{}, err)
			return
		}
		for conn, err := range store.Connections.Pages(ctx, s.store) {
			if !yield(shownConnection(conn), err) {
				return
			}
		}
	}
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
	var now token.Connection
	err := s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "change connections", token.Admin); err != nil {
			return err
		}
		was, err := connection(c, conn.Name)
		if err != nil {
			return err
		}
		if conn.Revision != 0 && conn.Revision != was.Revision {
			return token.Errorf(token.ErrConflict, "the connection %q has changed meanwhile", conn.Name).WithHint("look again: tokenctl admin connection show %s", conn.Name)
		}
		now = conn // fn may run again: the request stays as it is
		now.CreatedAt, now.Revision = was.CreatedAt, was.Revision+1
		if asBefore {
			now.AuthMethod = was.AuthMethod
		}
		now.SecretVerifier, now.SecretSince = was.SecretVerifier, was.SecretSince
		detail := connectionText(&now)
		if !now.Confidential() {
			if !was.SecretSince.IsZero() {
				detail += ", the client secret is dropped"
			}
			now.SecretVerifier, now.SecretSince = nil, time.Time{}
		}
		c.note(audit.Entry{Action: "connection.set", Object: now.Name, Detail: detail})
		return store.Connections.Put(c, now)
	})
	return shownConnection(now), err
}

// DeleteConnection implements [Connections].
func (s *session) DeleteConnection(ctx context.Context, name string) error {
	err := s.view(ctx, func(r store.Reader) error {
		if err := s.needs(r, "delete connections", token.Admin); err != nil {
			return err
		}
		_, err := connection(r, name)
		return err
	})
	if err != nil {
		return err
	}
	// A token that is generated after this look is refused at its exchange.
	for t, err := range s.List(ctx, token.Selector{Kind: token.Refresh, Connection: name}) {
		if err != nil {
			return err
		}
		return token.Errorf(token.ErrConflict, "live refresh tokens belong to connection %q, %s among them", name, t.ID).
			WithHint("revoke them first: tokenctl revoke --all-owners --kind refresh --connection %s", name)
	}
	return s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "delete connections", token.Admin); err != nil {
			return err
		}
		if _, err := connection(c, name); err != nil {
			return err
		}
		c.note(audit.Entry{Action: "connection.delete", Object: name})
		return store.Connections.Delete(c, name)
	})
}
