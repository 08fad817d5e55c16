package idp

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// BrowserLogin logs somebody in with a browser on this machine: an authorization
// code with PKCE (RFC 7636, S256), which comes back to a port of the loopback that
// is open for as long (RFC 8252 §7.3). It opens the page, and waits until that is
// done, 15 minutes are over or ctx ends. That the provider or a person there says
// no is token.ErrRefused.
//
// What it returns is shown to the server once; it is not for keeping.
func (c Client) BrowserLogin(ctx context.Context, open func(url string) error) (secret.Secret, error) {
	s, err := c.begin(ctx)
	if err != nil {
		return secret.Secret{}, err
	}
	if !token.IsFetchable(s.metadata.AuthorizationURL) {
		return secret.Secret{}, token.Errorf(token.ErrCannotTell, "the provider %s names no https URL to log in at", s.Issuer)
	}
	back, err := listen(s.Issuer, s.metadata.NamesItself)
	if err != nil {
		return secret.Secret{}, err
	}
	defer back.close()
	s.oauth.RedirectURL = back.url
	nonce, verifier := rand.Text(), oauth2.GenerateVerifier()
	options := append(s.audienceOptions(), oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce))
	if err := open(s.oauth.AuthCodeURL(back.state, options...)); err != nil {
		return secret.Secret{}, err
	}
	limited, cancel := context.WithTimeout(ctx, loginFor)
	defer cancel()
	code, err := back.wait(limited)
	if err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			return secret.Secret{}, said(expiredToken, "")
		}
		return secret.Secret{}, err
	}
	t, err := s.oauth.Exchange(s.context(ctx), code, append(s.audienceOptions(), oauth2.VerifierOption(verifier))...)
	if err != nil {
		return secret.Secret{}, s.explain(ctx, err)
	}
	return s.accept(ctx, t, nonce)
}

// callback is where the browser brings the answer of one log-in.
type callback struct {
	url         string
	state       string // which log-in it is
	issuer      string
	namesItself bool
	server      *http.Server
	answers     chan answer
}

// answer is the first that has the state: a code, or why there is none.
type answer struct {
	code string
	err  error
}

func listen(issuer string, namesItself bool) (*callback, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if l, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return nil, token.Errorf(token.ErrCannotTell, "no port of the loopback is to be had: %w", err)
		}
	}
	c := &callback{
		url: "http://" + l.Addr().String() + "/callback", state: rand.Text(),
		issuer: issuer, namesItself: namesItself, answers: make(chan answer, 1),
	}
	c.server = &http.Server{
		Handler: c, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		MaxHeaderBytes: 32 << 10, ErrorLog: log.New(io.Discard, "", 0),
	}
	go c.server.Serve(l)
	return c, nil
}

func (c *callback) wait(ctx context.Context) (string, error) {
	select {
	case a := <-c.answers:
		return a.code, a.err
	case <-ctx.Done():
		return "", token.Errorf(token.ErrCannotTell, "the log-in was given up: %w", context.Cause(ctx))
	}
}

// close lets the browser have its page first.
func (c *callback) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c.server.Shutdown(ctx) != nil {
		c.server.Close()
	}
}

// ServeHTTP takes the answer. Every program and page on this machine can send us
// something: only what has the state counts, and nothing else ends the log-in.
func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Connection", "close")
	q := r.URL.Query()
	state := q["state"]
	if r.Method != http.MethodGet || "http://"+r.Host+r.URL.Path != c.url || len(state) != 1 || subtle.ConstantTimeCompare([]byte(state[0]), []byte(c.state)) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "This is not the log-in that tokenctl waits for.\n")
		return
	}
	a := c.read(q)
	select {
	case c.answers <- a:
	default: // the first one counts
	}
	if a.err != nil {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "tokenctl got no log-in. The terminal says why; you can close this window.\n")
		return
	}
	io.WriteString(w, "tokenctl goes on in the terminal. You can close this window.\n")
}

// read takes the code out of an answer that has our state: RFC 6749 §4.1.2, and
// RFC 9207 §2.4, by which a provider cannot pass off another's code as its own.
func (c *callback) read(q url.Values) answer {
	for _, name := range []string{"code", "error", "iss"} {
		if len(q[name]) > 1 {
			return answer{err: refused("the provider's answer has %s twice", name)}
		}
	}
	if iss, has := q["iss"]; has && iss[0] != c.issuer {
		return answer{err: refused("the answer is of another provider, %.200q", iss[0])}
	} else if !has && c.namesItself {
		return answer{err: refused("the answer does not say which provider it is of (iss)")}
	}
	switch code, problem := q.Get("code"), q.Get("error"); {
	case problem != "":
		return answer{err: said(problem, q.Get("error_description"))}
	case code == "":
		return answer{err: refused("the provider's answer has no code")}
	default:
		return answer{code: code}
	}
}
