package render

import (
	"io"
	"strconv"

	"github.com/tokenctl/tokenctl/pkg/terminal"
)

// Failure is how a command ended that did not do what it should.
type Failure struct {
	Exit    int    // the exit code
	Message string // lower case, no full stop
	Hint    string // the way out, may be empty
}

// codes name the exit codes.
var codes = map[int]string{
	1: "failed", 2: "usage", 3: "refused", 4: "not_found", 5: "conflict",
	6: "cannot_tell", 7: "unsafe", 70: "bug", 130: "interrupted",
}

// Code is the name of the exit code: failed, usage, refused, not_found,
// conflict, cannot_tell, unsafe, bug or interrupted.
func (f Failure) Code() string {
	if code, ok := codes[f.Exit]; ok {
		return code
	}
	return "exit_" + strconv.Itoa(f.Exit)
}

// Error writes a failure: a line "tokenctl: …" and, if there is one, a line
// "hint: …"; as JSON, if that is what the options ask for, one line with an
// object "error" of code, message, hint and exit.
func Error(w io.Writer, o Options, f Failure) error {
	out := &output{w: w}
	if o.wantsJSON() {
		var fields Fields
		out.buf = appendObject(&fields, nil, &failures, &f)
		out.buf = append(out.buf, '\n')
		return out.flush()
	}
	out.buf = append(out.buf, "tokenctl: "+terminal.Sanitise(f.Message)+"\n"...)
	if f.Hint != "" {
		out.buf = append(out.buf, "hint: "+terminal.Sanitise(f.Hint)+"\n"...)
	}
	return out.flush()
}

var failures = Kind[Failure]{Fields: func(f *Fields, v *Failure) {
	f.Object("error", func(f *Fields) {
		f.Text("code", v.Code())
		f.Text("message", v.Message)
		f.Text("hint", v.Hint)
		f.Int("exit", int64(v.Exit))
	})
}}
