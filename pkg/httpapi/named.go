package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"net/url"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// named is a kind of setting of which each has a name: accounts, connections,
// services and identity providers. All are added, shown, changed and deleted in
// the same way, at both ends of the wire.
type named[T, W any] struct {
	what   string // as errors call one
	plural string // as paths and pages call them
	naming naming
	name   func(T) string
	// toWire and fromWire are the two forms of one, and whole says whether an
	// answer is one.
	toWire   func(T) W
	fromWire func(*W) (T, error)
	whole    func(*W) bool
	// fresh is a new one of a name, as it is where a request says nothing.
	fresh func(name string) T

	list   func(authority.Service, context.Context) iter.Seq2[T, error] // nil: listed in a way of its own
	get    func(authority.Service, context.Context, string) (T, error)
	add    func(authority.Service, context.Context, T) (T, error)
	set    func(authority.Service, context.Context, T) (T, error)
	remove func(authority.Service, context.Context, string) error
}

// naming is how a name stands in paths and bodies.
type naming struct {
	field    string // of a body, that has the name
	pattern  string // of the path, below that of all
	of       func(*http.Request) (string, error)
	segments func(name string) []string
	check    func(what, name string) error
}

var byName = naming{
	field:    "name",
	pattern:  "/{name}",
	of:       func(r *http.Request) (string, error) { return r.PathValue("name"), nil },
	segments: func(name string) []string { return []string{name} },
	check:    token.CheckName,
}

func (n *named[T, W]) routes(h *handler) []apiRoute {
	all := "/" + n.plural
	one := all + n.naming.pattern
	with := func(fn func(*handler, http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error { return fn(h, w, r) }
	}
	routes := []apiRoute{
		{"POST", all, with(n.servePost)},
		{"GET", one, with(n.serveGet)}, {"PUT", one, with(n.servePut)}, {"DELETE", one, with(n.serveDelete)},
	}
	if n.list != nil {
		routes = append(routes, apiRoute{"GET", all, with(n.serveList)})
	}
	return routes
}

func (n *named[T, W]) serveList(h *handler, w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	after, err := readQuery(r.URL.Query(), afterFields, "limit")
	if err != nil {
		return err
	}
	return list[T]{
		n.plural, n.list(s, r.Context()), func(v T) any { return n.toWire(v) }, n.name,
	}.behind(after).answer(w, r)
}

func (n *named[T, W]) servePost(h *handler, w http.ResponseWriter, r *http.Request) error {
	var said map[string]json.RawMessage
	s, err := h.serviceOnce(w, r, &said)
	if err != nil {
		return err
	}
	var name string
	_ = json.Unmarshal(said[n.naming.field], &name) // what is no name is an error below
	v, err := n.read(h, n.fresh(name), said)
	if err != nil {
		return err
	}
	if v, err = n.add(s, r.Context(), v); err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, n.toWire(v))
	return nil
}

func (n *named[T, W]) serveGet(h *handler, w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	name, err := n.naming.of(r)
	if err != nil {
		return err
	}
	v, err := n.get(s, r.Context(), name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, n.toWire(v))
	return nil
}

// servePut changes what the body says and leaves the rest: a client that does
// not know a setting must not weaken it.
func (n *named[T, W]) servePut(h *handler, w http.ResponseWriter, r *http.Request) error {
	who, err := h.caller(r)
	if err != nil {
		return err
	}
	var said map[string]json.RawMessage
	if _, err := readJSON(w, r, h.Limits, &said); err != nil {
		return err
	}
	name, err := n.naming.of(r)
	if err != nil {
		return err
	}
	// Before they are told that they may not see it, or that it is not there.
	if err := h.Rules.Require(r.Context(), who, "change "+n.what+"s", token.Admin); err != nil {
		return err
	}
	if said == nil {
		return token.Errorf(token.ErrUsage, "the body is no JSON object that says what to change")
	}
	for field, empty := range map[string]string{n.naming.field: `""`, revisionField: "0"} { // which say nothing
		if v := string(said[field]); v == empty || v == "null" {
			delete(said, field)
		}
	}
	s := h.Rules.As(who)
	for tries := 1; ; tries++ {
		v, err := n.merge(h, s, r, name, said)
		// Who does not say which revision they have seen means any.
		if said[revisionField] == nil && errors.Is(err, token.ErrConflict) && tries < mostMerges {
			continue
		}
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, n.toWire(v))
		return nil
	}
}

const (
	revisionField = "revision"
	mostMerges    = 10 // with what others change at the same time
)

// merge changes the fields that were said of one, as it is now.
func (n *named[T, W]) merge(h *handler, s authority.Service, r *http.Request, name string, said map[string]json.RawMessage) (v T, err error) {
	now, err := n.get(s, r.Context(), name)
	if err != nil {
		return v, err
	}
	if v, err = n.read(h, now, said); err != nil {
		return v, err
	}
	// The store may spell a name otherwise than the path does.
	if said := n.name(v); said != name && said != n.name(now) {
		return v, token.Errorf(token.ErrUsage, "the body is about %q, the path about %q", said, name)
	}
	return n.set(s, r.Context(), v)
}

func (n *named[T, W]) serveDelete(h *handler, w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	name, err := n.naming.of(r)
	if err != nil {
		return err
	}
	if err := mayTake(w, r, longWork); err != nil { // tokens of it may have to be looked for, or to go
		return err
	}
	return done(w, n.remove(s, r.Context(), name))
}

// read is one as it was, with the fields that were said in the place of its own.
// They are put together as JSON and read anew: nothing of a list that was there
// shines through one that was said.
func (n *named[T, W]) read(h *handler, was T, said map[string]json.RawMessage) (v T, err error) {
	text, err := json.Marshal(n.toWire(was))
	if err != nil {
		return v, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return v, err
	}
	maps.Copy(fields, said)
	if text, err = json.Marshal(fields); err != nil {
		return v, err
	}
	var w W
	if err := parseJSON(text, h.Limits.JSONDepth, &w); err != nil {
		return v, err
	}
	if err := noNulls(&w, said); err != nil {
		return v, err
	}
	return n.fromWire(&w)
}

// noNulls refuses null for a field that is never null: nobody can mean a lifetime
// of zero by it, or that a protection be off.
func noNulls(w any, said map[string]json.RawMessage) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	var now map[string]json.RawMessage
	if err := json.Unmarshal(text, &now); err != nil {
		return err
	}
	for field, v := range said {
		if string(v) == "null" && string(now[field]) != "null" {
			return token.Errorf(token.ErrUsage, "the field %q cannot be null", field).WithHint("leave it out to leave it as it is")
		}
	}
	return nil
}

func (n *named[T, W]) path(name string) (string, error) {
	path := apiPath + "/" + n.plural
	for _, segment := range n.naming.segments(name) {
		if segment == "" { // which no path can say
			return "", token.Errorf(token.ErrNotFound, "there is no %s %q", n.what, name)
		}
		path += "/" + escapeSegment(segment)
	}
	return path, nil
}

// ask asks for what one is answered with.
func (n *named[T, W]) ask(ctx context.Context, c *Client, q call) (v T, err error) {
	var w W
	q.into = &w
	q.whole = func() bool {
		v, err = n.fromWire(&w)
		return err == nil && n.whole(&w)
	}
	if err := c.do(ctx, q); err != nil {
		var none T
		return none, err
	}
	return v, nil
}

func (n *named[T, W]) askAdd(ctx context.Context, c *Client, v T) (T, error) {
	return n.ask(ctx, c, call{
		method: "POST", path: apiPath + "/" + n.plural, body: n.toWire(v), changes: true, once: true, want: http.StatusCreated,
	})
}

func (n *named[T, W]) askGet(ctx context.Context, c *Client, name string) (v T, err error) {
	path, err := n.path(name)
	if err != nil {
		return v, err
	}
	return n.ask(ctx, c, call{method: "GET", path: path})
}

// askList asks for those that q chooses; nil: for all.
func (n *named[T, W]) askList(ctx context.Context, c *Client, q url.Values) iter.Seq2[T, error] {
	return pages(ctx, c, "/"+n.plural, n.plural, q, func(w *W) (v T, err error) {
		if !n.whole(w) {
			return v, errNotWhole
		}
		return n.fromWire(w)
	})
}

func (n *named[T, W]) askSet(ctx context.Context, c *Client, v T) (none T, err error) {
	if err := n.naming.check(n.what, n.name(v)); err != nil {
		return none, err
	}
	path, err := n.path(n.name(v))
	if err != nil {
		return none, err
	}
	return n.ask(ctx, c, call{method: "PUT", path: path, body: n.toWire(v), changes: true})
}

func (n *named[T, W]) askDelete(ctx context.Context, c *Client, name string) error {
	path, err := n.path(name)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: "DELETE", path: path, changes: true, long: true, want: http.StatusNoContent})
}
