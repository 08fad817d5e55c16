package authority

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// named is a kind of setting of which each has a name: connections, services and
// identity providers. Everybody who is known may see them, and an administrator
// adds, changes and deletes them; what is special to a kind is in its hooks.
type named[T any] struct {
	table   store.Table[T]
	article string // a or an
	what    string // as errors call one
	action  string // as the audit log does, before .add and .set
	command string // that changes one
	list    string // that shows all
	head    func(*T) head
	// text is what the audit log says of one; was is nil if it is new.
	text func(now, was *T) string
	// shown is one without what nobody is shown.
	shown func(T) T
}

// head is what all of them have, and nobody sets.
type head struct {
	name      string
	disabled  bool
	createdAt *time.Time
	createdBy *token.Owner // nil: it is not kept
	revision  *uint64
}

func (h head) stamp(at time.Time, by token.Owner, revision uint64) {
	*h.createdAt, *h.revision = at, revision
	if h.createdBy != nil {
		*h.createdBy = by
	}
}

// asItIs shows all there is.
func asItIs[T any](v T) T { return v }

func (n *named[T]) find(r store.Reader, name string) (T, error) {
	v, err := n.table.Get(r, name)
	if errors.Is(err, store.ErrNotFound) {
		return v, token.Errorf(token.ErrNotFound, "there is no %s %q", n.what, name).WithHint("%s shows them", n.list)
	}
	return v, err
}

func (n *named[T]) needsAdmin(s *session, r store.Reader, verb string) error {
	return s.needs(r, verb+" "+n.what+"s", token.Admin)
}

// add keeps a new one that admit accepts.
func (n *named[T]) add(ctx context.Context, s *session, v T, admit func(c *change, now *T) error) (T, error) {
	name := n.head(&v).name
	err := s.once(ctx, func(c *change) (string, error) {
		if err := n.needsAdmin(c.by, c, "add"); err != nil {
			return "", err
		}
		has, err := n.table.Has(c, name)
		if err != nil {
			return "", err
		}
		if has {
			return "", token.Errorf(token.ErrConflict, "there is %s %s %q already", n.article, n.what, name).WithHint("change it: %s set %s", n.command, name)
		}
		if err := admit(c, &v); err != nil {
			return "", err
		}
		n.head(&v).stamp(c.now, c.by.caller.Owner, 1)
		c.note(audit.Entry{Action: n.action + ".add", Object: name, Detail: n.text(&v, nil)})
		return "", n.table.Put(c, v)
	}, func(c *change, _ string) (err error) {
		c.note(audit.Entry{Action: n.action + ".add", Object: name, Detail: replayed})
		v, err = n.table.Get(c, name)
		return goneSince(err)
	})
	return n.shown(v), err
}

func (n *named[T]) get(ctx context.Context, s *session, name string) (v T, err error) {
	err = s.view(ctx, func(r store.Reader) (err error) {
		v, err = n.find(r, name)
		return err
	})
	return n.shown(v), err
}

func (n *named[T]) all(ctx context.Context, s *session) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := s.view(ctx, func(store.Reader) error { return nil }); err != nil {
			var none T
			yield(none, err)
			return
		}
		for v, err := range n.table.Pages(ctx, s.store) {
			if !yield(n.shown(v), err) {
				return
			}
		}
	}
}

// set puts one that admit accepts in the place of that of its name. A revision
// that is not zero is the one which is to be changed.
func (n *named[T]) set(ctx context.Context, s *session, v T, admit func(c *change, now, was *T) error) (now T, err error) {
	said := n.head(&v)
	err = s.update(ctx, func(c *change) error {
		if err := n.needsAdmin(c.by, c, "change"); err != nil {
			return err
		}
		was, err := n.find(c, said.name)
		if err != nil {
			return err
		}
		old := n.head(&was)
		if *said.revision != 0 && *said.revision != *old.revision {
			return token.Errorf(token.ErrConflict, "the %s %q has changed meanwhile", n.what, said.name).WithHint("look again: %s show %s", n.command, said.name)
		}
		now = v // fn may run again: the request stays as it is
		if err := admit(c, &now, &was); err != nil {
			return err
		}
		var by token.Owner
		if old.createdBy != nil {
			by = *old.createdBy
		}
		n.head(&now).stamp(*old.createdAt, by, *old.revision+1)
		c.note(audit.Entry{Action: n.action + turned(old.disabled, said.disabled), Object: said.name, Detail: n.text(&now, &was)})
		return n.table.Put(c, now)
	})
	return n.shown(now), err
}

// turned is how the audit log calls a change.
func turned(was, is bool) string {
	switch {
	case is && !was:
		return ".disable"
	case was && !is:
		return ".enable"
	}
	return ".set"
}

// mayRemove looks whether the caller may delete one, and whether it is there,
// before they are told what is in the way of it.
func (n *named[T]) mayRemove(ctx context.Context, s *session, name string) error {
	return s.view(ctx, func(r store.Reader) error {
		if err := n.needsAdmin(s, r, "delete"); err != nil {
			return err
		}
		_, err := n.find(r, name)
		return err
	})
}

// remove deletes one that admit lets go.
func (n *named[T]) remove(ctx context.Context, s *session, name string, admit func(*change) error) error {
	return s.update(ctx, func(c *change) error {
		if err := n.needsAdmin(c.by, c, "delete"); err != nil {
			return err
		}
		if _, err := n.find(c, name); err != nil {
			return err
		}
		if err := admit(c); err != nil {
			return err
		}
		c.note(audit.Entry{Action: n.action + ".delete", Object: name})
		return n.table.Delete(c, name)
	})
}
