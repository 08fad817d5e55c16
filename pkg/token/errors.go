package token

import (
	"errors"
	"fmt"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// The kinds of error. Every error that leaves a room of tokenctl wraps exactly
// one of them; commands turn the kind into an exit code and the server into a
// status, each by one table. Ask with [errors.Is].
var (
	// ErrRefused says no: the credential is not accepted, or the caller may
	// not do this.
	ErrRefused = errors.New("refused")
	// ErrMalformed is a credential whose text cannot be one of ours (length,
	// alphabet, checksum). It is a refusal that needed no look at the store.
	ErrMalformed = fmt.Errorf("%w: %w", ErrRefused, secret.ErrMalformed)
	// ErrUsage is a request that makes no sense as put: a bad name, a lifetime
	// of zero, an unknown option. Nothing was tried.
	ErrUsage = errors.New("wrong usage")
	// ErrNotFound says that there is no such token, account, connection …
	ErrNotFound = errors.New("not found")
	// ErrConflict says that it exists already, or changed meanwhile.
	ErrConflict = errors.New("conflict")
	// ErrCannotTell is the third outcome of every question: the store, the
	// directory or a key could not be asked. It is never a yes and never a no.
	ErrCannotTell = errors.New("cannot tell")
	// ErrUnsafe stops what a person has not confirmed, or what goes over a
	// safety limit. Nothing was changed.
	ErrUnsafe = errors.New("stopped for safety")
)

// Error is one error for people and programs: the kind (one of the Err…
// values), what was wrong with which value, and what to do about it.
type Error struct {
	Kind    error
	Message string // lower case, no full stop
	Hint    string // the way out, may be empty
	Cause   error  // may be nil
}

// Errorf makes an [Error] of a kind. An error given for a %w verb becomes its
// cause.
func Errorf(kind error, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	if _, several := err.(interface{ Unwrap() []error }); several {
		cause = err
	}
	return &Error{Kind: kind, Message: err.Error(), Cause: cause}
}

// WithHint adds the way out.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) Error() string { return e.Message }

// Unwrap makes [errors.Is] find the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
