package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// call is one question to the server.
type call struct {
	method, path string // the path is escaped
	query        url.Values
	body         any    // nil: none
	from         string // the address of whoever shows the credential in it
	public       bool   // needs no caller, so it gets no credential
	changes      bool   // if no answer comes, it may have happened
	once         bool   // creates something, and is made harmless to repeat
	harmless     bool   // to repeat, as it is
	long         bool   // reads the whole store
	want         int    // the status of success; 0: 200
	into         any    // nil: there is no body
	// whole says that nothing is missing in the answer; nil: nothing can be.
	whole func() bool
}

const (
	longestAnswer = 16 << 20 // bytes
	tries         = 3        // of a call that is harmless to repeat
	longFactor    = 30       // by which a call that reads the whole store may take longer
)

// do asks the server. The error is that of the server, with its message and
// hint, or tells what has gone wrong on the way.
func (c *Client) do(ctx context.Context, q call) error {
	var body []byte
	if q.body != nil {
		var err error
		if body, err = appendJSON(nil, q.body); err != nil {
			return token.Errorf(token.ErrUsage, "this cannot be asked: %w", err)
		}
	}
	if !q.once && !q.harmless {
		_, err := c.try(ctx, q, body, "")
		return c.told(q, err)
	}
	ctx, cancel := context.WithTimeout(ctx, tries*c.o.Timeout)
	defer cancel()
	key := ""
	if q.once {
		key = rand.Text() // 130 bits
	}
	sent := false
	for n := 1; ; n++ {
		again, err := c.try(ctx, q, body, key)
		var lost *lostError
		if errors.As(err, &lost) {
			sent = sent || lost.sent
			lost.sent = sent
		}
		if !again || n == tries {
			return c.told(q, err)
		}
		select {
		case <-time.After(time.Duration(n) * 50 * time.Millisecond):
		case <-ctx.Done():
			return c.told(q, err)
		}
	}
}

// lostError is what befell a question or its answer on the way.
type lostError struct {
	sent  bool // the server may have got the question
	what  string
	cause error
}

func (e *lostError) Error() string { return e.what }
func (e *lostError) Unwrap() error { return e.cause }

// told makes an error for the caller of what was found on the way.
func (c *Client) told(q call, err error) error {
	var lost *lostError
	if !errors.As(err, &lost) {
		return err
	}
	e := &token.Error{Kind: token.ErrCannotTell, Message: lost.what, Cause: lost.cause}
	if q.changes && lost.sent {
		e.Kind = authority.ErrOutcomeUnknown
		e.Message += "; the change may have been made"
		e.Hint = "look what is there before you try again: tokenctl list, tokenctl admin audit list"
	}
	return e
}

// try asks once. again says that another try may bring an answer.
func (c *Client) try(ctx context.Context, q call, body []byte, key string) (again bool, err error) {
	timeout := c.o.Timeout
	if q.long {
		timeout *= longFactor
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.send(ctx, q, body, key)
	if err != nil {
		var lost *lostError
		return errors.As(err, &lost), err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer+1))
	if err != nil {
		return true, c.lost("the answer of %s broke off: %w", c.o.Where, err)
	}
	if len(text) > longestAnswer {
		return false, c.lost("the answer of %s is over %d bytes long", c.o.Where, longestAnswer)
	}
	return c.understand(q, resp, text)
}

// send sends the question and waits for the head of the answer.
func (c *Client) send(ctx context.Context, q call, body []byte, key string) (*http.Response, error) {
	u := c.base + q.path
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), q.method, u, bytes.NewReader(body))
	if err != nil {
		return nil, token.Errorf(token.ErrUsage, "this cannot be asked: %w", err)
	}
	r.Header.Set("User-Agent", c.o.UserAgent)
	r.Header.Set("Accept", "application/json")
	if q.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set(idempotencyKey, key)
	}
	if q.from != "" {
		r.Header.Set("X-Forwarded-For", q.from)
	}
	if !q.public {
		if err := c.authorize(r); err != nil {
			return nil, err
		}
	}
	resp, err := c.http.Do(r)
	if err == nil {
		return resp, nil
	}
	var inURL *url.Error // the URL is in Where already
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	lost := &lostError{sent: connected.Load(), cause: err}
	what := "cannot be reached"
	if lost.sent {
		what = "did not answer"
	}
	lost.what = fmt.Sprintf("%s %s: %v", c.o.Where, what, err)
	if errors.Is(err, context.DeadlineExceeded) {
		lost.what = fmt.Sprintf("%s %s within %s", c.o.Where, what, c.o.Timeout)
	}
	return nil, lost
}

func (c *Client) lost(format string, args ...any) *lostError {
	err := fmt.Errorf(format, args...)
	return &lostError{sent: true, what: err.Error(), cause: errors.Unwrap(err)}
}

// understand reads an answer. What is not the server's own, such as the page of
// a proxy, is no answer.
func (c *Client) understand(q call, resp *http.Response, text []byte) (again bool, err error) {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	want := q.want
	if want == 0 {
		want = http.StatusOK
	}
	switch {
	case resp.StatusCode == want && q.into == nil && len(text) == 0:
		return false, nil
	case resp.StatusCode == want && q.into != nil && (kind == "application/json" || kind == "application/jwk-set+json"):
		err := json.Unmarshal(text, q.into)
		if err == nil && (q.whole == nil || q.whole()) {
			return false, nil
		}
		return true, c.lost("the answer of %s (%s) cannot be understood", c.o.Where, resp.Status)
	case kind == problemType:
		var p problem
		if json.Unmarshal(text, &p) == nil && p.Status == resp.StatusCode {
			if err := c.problem(&p); err != nil {
				return false, err
			}
		}
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, c.lost("what %s answered (%s) is not from tokenctl", c.o.Where, resp.Status)
}

// problem is the server's error, nil if it is none of ours.
func (c *Client) problem(p *problem) error {
	err := p.error()
	var told *token.Error
	if p.Status == http.StatusUnauthorized && errors.As(err, &told) {
		told.Hint = "log in (tokenctl login), or set TOKENCTL_TOKEN to a user token (code:passcode) or an access token of " + c.o.Where
	}
	return err
}
