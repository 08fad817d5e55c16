package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// problems is the one table of kinds of error, what the wire calls them, and
// their status. Handlers read it one way, a [Client] the other. The first kind
// that fits counts.
var problems = []struct {
	kind   error
	code   string
	status int
}{
	{authority.ErrOutcomeUnknown, "outcome_unknown", http.StatusServiceUnavailable},
	{token.ErrMalformed, "malformed", http.StatusBadRequest},
	{authority.ErrInvalidTarget, "invalid_target", http.StatusBadRequest},
	{authority.ErrInvalidScope, "invalid_scope", http.StatusBadRequest},
	{authority.ErrInvalidClient, "invalid_client", http.StatusForbidden},
	{token.ErrUsage, "usage", http.StatusBadRequest},
	{token.ErrCannotTell, "cannot_tell", http.StatusServiceUnavailable},
	{context.DeadlineExceeded, "cannot_tell", http.StatusServiceUnavailable},
	{context.Canceled, "cannot_tell", http.StatusServiceUnavailable},
	{errUnknownCaller, "refused", http.StatusUnauthorized},
	{token.ErrRefused, "refused", http.StatusForbidden},
	{token.ErrNotFound, "not_found", http.StatusNotFound},
	{token.ErrConflict, "conflict", http.StatusConflict},
	{token.ErrUnsafe, "unsafe", http.StatusConflict},
	{errFailed, "failed", http.StatusInternalServerError},
}

// errFailed is what no other kind says: a fault of the server.
var errFailed = errors.New("failed")

// problem is the body of an error (RFC 9457 §3).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// problemType is the media type of RFC 9457.
const problemType = "application/problem+json"

// statusError is an error with a status that its kind alone does not tell.
type statusError struct {
	status int
	error
}

func (e *statusError) Unwrap() error { return e.error }

// writeProblem answers with an error. The status follows from its kind.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	var is *statusError
	if errors.As(err, &is) {
		writeProblemStatus(w, r, is.status, err)
		return
	}
	writeProblemStatus(w, r, 0, err)
}

// writeProblemStatus answers with an error and a status; 0: that of its kind.
func writeProblemStatus(w http.ResponseWriter, r *http.Request, status int, err error) {
	if n := noteOf(r); n != nil && n.err == nil {
		n.err = err
	}
	p := problemOf(err)
	if p.Status == http.StatusServiceUnavailable && !isKnown(r) {
		// What is wrong with the server is none of a stranger's business.
		p.Detail, p.Hint = "nobody can say at the moment", ""
	}
	p.Status = cmp.Or(status, p.Status)
	p.Title, p.RequestID = http.StatusText(p.Status), requestID(r)
	switch p.Status {
	case http.StatusUnauthorized:
		challenge(w.Header(), r.Header.Get("Authorization") != "")
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	writeAs(w, p.Status, problemType, p)
}

// isKnown says that a request is of a caller whom the server has recognised.
func isKnown(r *http.Request) bool {
	if n := noteOf(r); n != nil && n.caller != "" {
		return true
	}
	_, isPeer := r.Context().Value(peerKey{}).(authority.Caller)
	return isPeer
}

// problemOf says an error as the wire does. Of a fault that has no kind it
// tells nothing: the log does, under the request's id.
func problemOf(err error) problem {
	p := problem{Type: "about:blank", Code: "failed", Status: http.StatusInternalServerError, Detail: "the server failed; its log says why"}
	for _, e := range problems {
		if !errors.Is(err, e.kind) {
			continue
		}
		p.Code, p.Status, p.Detail = e.code, e.status, err.Error()
		var told *token.Error
		if errors.As(err, &told) {
			p.Hint = told.Hint
		}
		break
	}
	// Somebody may have pasted one where a name belongs.
	if secret.Contains(p.Detail) || secret.Contains(p.Hint) {
		p.Detail, p.Hint = "what was sent holds a secret where none belongs", "it has been in the open: revoke it"
	}
	return p
}

// error is the problem as an error of ours, or nil if it is none of ours.
func (p *problem) error() error {
	for _, e := range problems {
		if e.code == p.Code && e.kind != errUnknownCaller && p.Detail != "" { // which is a refusal like others
			return &token.Error{Kind: e.kind, Message: p.Detail, Hint: p.Hint}
		}
	}
	return nil
}
