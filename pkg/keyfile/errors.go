package keyfile

import "errors"

// The kinds of error about the file itself; an [Error] wraps one of them.
var (
	// ErrMissing says that there is no file; the error also wraps
	// fs.ErrNotExist.
	ErrMissing = errors.New("key file is missing")
	// ErrGarbled is a file that is not as it was written: changed by hand, cut
	// off, or by a newer tokenctl.
	ErrGarbled = errors.New("key file is garbled")
	// ErrUnsafeFile is a file that others may read or could have put there.
	ErrUnsafeFile = errors.New("key file is not safe")
	// ErrForeign is a file that has taken the place of the one that was read
	// before, but is of another database, or an older copy.
	ErrForeign = errors.New("key file is another one")
	// ErrUnreadable is a file that the system does not let us read.
	ErrUnreadable = errors.New("key file cannot be read")
	// ErrLocked says that somebody else is changing the file.
	ErrLocked = errors.New("key file is being changed")
	// ErrNotWritten says that a change failed. The file is as it was, unless
	// the reason says that this is unknown.
	ErrNotWritten = errors.New("key file was not written")
)

// Other errors of [Keys].
var (
	// ErrCurrent refuses to drop the current key.
	ErrCurrent = errors.New("the current key cannot be dropped")
	// ErrSealed is a sealed text that was changed, or sealed for something else.
	ErrSealed = errors.New("sealed text cannot be opened")
)

// Error says what is wrong with a key file. It never holds anything of its
// contents.
type Error struct {
	Kind   error // one of the Err… values
	Path   string
	Reason string // what is wrong; empty if Kind says it all
	Hint   string // the way out
	Cause  error  // may be nil
}

// Error gives it all in one line: kind, path, reason, cause, and the way out.
func (e *Error) Error() string {
	message := e.Kind.Error() + ": " + e.Path
	if e.Reason != "" {
		message += ": " + e.Reason
	}
	if e.Cause != nil {
		message += ": " + e.Cause.Error()
	}
	return message + "; " + e.Hint
}

// Unwrap makes [errors.Is] find the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }

// restore is the way out when the keys cannot be had.
const restore = "put back your copy of it: without these keys no token of the database can be verified and no access token be signed"
