package httpapi

import (
	"cmp"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const (
	usualPage   = 100
	longestPage = 1000
	linesType   = "application/jsonl"
)

// A list is answered in pages, or as one stream of lines.
type list[T any] struct {
	name   string // of the field that holds them
	items  iter.Seq2[T, error]
	wire   func(T) any
	cursor func(T) string // what after has to be, to go on behind an item
}

// limitOf is how many items a request wants; 0: it does not say.
func limitOf(q url.Values) (int, error) {
	if !q.Has("limit") {
		return 0, nil
	}
	n, err := count("limit", q.Get("limit"))
	if err == nil && n > longestPage {
		err = badParameter("limit", q.Get("limit"), "is over 1000")
	}
	return n, err
}

func (l list[T]) answer(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r.URL.Query())
	if err != nil {
		return err
	}
	if err := mayTake(w, r, longWork); err != nil {
		return err
	}
	if wantsLines(r) {
		return l.stream(w, r, limit)
	}
	limit = cmp.Or(limit, usualPage)
	items := make([]any, 0, min(limit, usualPage))
	var next *string
	var last T
	for item, err := range l.items {
		if err != nil {
			return err
		}
		if len(items) == limit {
			cursor := l.cursor(last)
			next = &cursor
			break
		}
		items, last = append(items, l.wire(item)), item
	}
	if err := mayTake(w, r, nextPart); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{l.name: items, "next": next})
	return nil
}

func wantsLines(r *http.Request) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(r.Header["Accept"], ","), ","), func(s string) bool {
		kind, _, err := mime.ParseMediaType(s)
		return err == nil && kind == linesType
	})
}

// flushAt is how much of a stream is sent at once, in bytes.
const flushAt = 32 << 10

// stream writes one line an item. Once the first line is out a failure can only
// be told by breaking the connection, so that nobody takes a part for the whole.
func (l list[T]) stream(w http.ResponseWriter, r *http.Request, limit int) error {
	var buf []byte
	began := false
	flush := func() {
		if !began {
			w.Header().Set("Content-Type", linesType)
		}
		began = true
		if mayTake(w, r, nextPart) != nil {
			panic(http.ErrAbortHandler)
		}
		if _, err := w.Write(buf); err != nil {
			panic(http.ErrAbortHandler)
		}
		http.NewResponseController(w).Flush()
		buf = buf[:0]
	}
	n := 0
	for item, err := range l.items {
		if err == nil {
			buf, err = appendJSON(buf, l.wire(item))
		}
		if err != nil && began {
			panic(http.ErrAbortHandler)
		}
		if err != nil {
			return err
		}
		if len(buf) >= flushAt {
			flush()
		}
		if n++; n == limit {
			break
		}
	}
	flush()
	return nil
}

// behind leaves out what the pages before have shown. The items come in the
// order of their cursors.
func (l list[T]) behind(after string) list[T] {
	all := l.items
	l.items = func(yield func(T, error) bool) {
		for item, err := range all {
			if (err != nil || l.cursor(item) > after) && !yield(item, err) {
				return
			}
		}
	}
	return l
}

func (h *handler) listTokens(w http.ResponseWriter, r *http.Request) error {
	who, err := h.caller(r)
	if err != nil {
		return err
	}
	sel, err := readSelector(r.URL.Query(), who.Owner, "limit")
	if err != nil {
		return err
	}
	return list[token.Token]{
		"tokens", h.Rules.As(who).List(r.Context(), sel),
		func(t token.Token) any { return toWireToken(t) }, func(t token.Token) string { return t.ID.String() },
	}.answer(w, r)
}

// accountQuery chooses accounts.
type accountQuery struct {
	realm string
	after token.Owner
}

var accountFields = []queryField[accountQuery]{
	nameField("realm", func(q *accountQuery) *string { return &q.realm }),
	ownerField("after", func(q *accountQuery) *token.Owner { return &q.after }),
}

func (h *handler) listAccounts(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	q, err := readQuery(r.URL.Query(), accountFields, "limit")
	if err != nil {
		return err
	}
	return list[token.Account]{
		"accounts", s.ListAccounts(r.Context(), q.realm, q.after),
		func(a token.Account) any { return toWireAccount(a) }, func(a token.Account) string { return a.Owner.String() },
	}.answer(w, r)
}

// afterFields are the parameters of a list in which nothing is chosen.
var afterFields = []queryField[string]{textField("after", func(s *string) *string { return s })}

func (h *handler) listAudit(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	f, err := readQuery(r.URL.Query(), filterFields, "limit")
	if err != nil {
		return err
	}
	return list[audit.Entry]{
		"entries", s.ListAudit(r.Context(), f),
		func(e audit.Entry) any { return toWireEntry(e) }, func(e audit.Entry) string { return unlessZero(e.Seq) },
	}.answer(w, r)
}
