package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Rules is what the handlers ask; *authority.Local is it.
type Rules interface {
	authority.Verifier
	// LogIn says whose name and password somebody shows.
	LogIn(context.Context, authority.Login) (token.Identity, error)
	// AuthenticateClient says whose OAuth client somebody is.
	AuthenticateClient(context.Context, authority.ClientAuth) (token.Connection, error)
	// As is the service that a caller may use.
	As(authority.Caller) authority.Service
	// Ready says why questions cannot be answered now.
	Ready(context.Context) error
	// Require refuses a caller who has none of the roles.
	Require(ctx context.Context, c authority.Caller, what string, roles ...token.Role) error
}

// Limits bound what a request may ask of the server. Those of time and of
// headers are the http.Server's. Zero means the default.
type Limits struct {
	Body       int64 // bytes; 64 KiB
	FormFields int   // 64
	JSONDepth  int   // 32
	Bearer     int   // bytes of the credential in an Authorization header; 16 KiB
}

func (l Limits) orDefaults() Limits {
	if l.Body == 0 {
		l.Body = 64 << 10
	}
	if l.FormFields == 0 {
		l.FormFields = 64
	}
	if l.JSONDepth == 0 {
		l.JSONDepth = 32
	}
	if l.Bearer == 0 {
		l.Bearer = 16 << 10
	}
	return l
}

// Observer counts what happens. Its labels are few: routes are patterns, never
// paths.
type Observer interface {
	Request(route, method string, status int, took time.Duration)
	// Verdict is accepted, refused or cannot_tell.
	Verdict(outcome string)
}

type observesNothing struct{}

func (observesNothing) Request(string, string, int, time.Duration) {}
func (observesNothing) Verdict(string)                             {}

// Options are what a handler stands on.
type Options struct {
	Rules  Rules
	Limits Limits
	// Orphans is what a caller may ask about orphans; nil: there is no
	// directory, and the routes are not there. That of user tokens says so with
	// 409: its clients know no other.
	Orphans func(authority.Caller) orphans.Service
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Scratch is a folder for what must not be held in memory, of this user
	// alone; empty: the system's.
	Scratch  string
	Log      *slog.Logger // nil: nobody is told
	Observer Observer     // nil: nothing is counted
}

func (o Options) orDefaults() Options {
	o.Limits = o.Limits.orDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = observesNothing{}
	}
	return o
}

// refusalsLogged is how many refusals are told in the log: so many at once,
// and so many a second. A flood of guesses does not fill the disk. As many
// again are told of questions that nobody could answer, for guesses that have
// to wait bring those about too.
const refusalsLogged = 10

// handler answers all routes.
type handler struct {
	Options
	verify   http.Handler
	mux      *http.ServeMux
	refusals *rate.Limiter // of lines in the log
	doubts   *rate.Limiter
}

// NewHandler answers every route.
func NewHandler(o Options) http.Handler {
	o = o.orDefaults()
	h := &handler{
		Options: o, verify: NewVerifyHandler(o.Rules, o), mux: http.NewServeMux(),
		refusals: rate.NewLimiter(refusalsLogged, refusalsLogged), doubts: rate.NewLimiter(refusalsLogged, refusalsLogged),
	}
	h.oauthRoutes()
	h.apiRoutes(h.handle)
	h.userTokenRoutes()
	probes := NewProbes(o.Rules.Ready)
	h.mux.Handle("GET /livez", probes)
	h.mux.Handle("GET /readyz", probes)
	return h
}

// ServeHTTP implements http.Handler: what is wrong with a request whatever it
// asks for is refused here, before anything is decided.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// What follows on the connection may be read differently by a server on the
	// way (RFC 9112 §6.1); HTTP/1.0 knows no Transfer-Encoding, so net/http does
	// not tell of one.
	if len(r.TransferEncoding) > 0 || r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		w.Header().Set("Connection", "close")
	}
	if r.URL.Path == verifyPath || strings.HasPrefix(r.URL.Path, verifyPath+"/") {
		h.verify.ServeHTTP(w, r)
		return
	}
	begun := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r = r.WithContext(context.WithValue(r.Context(), noteKey{}, &note{id: newRequestID()}))
	defer func() {
		route := r.Pattern
		if route == "" {
			route = "none"
		}
		h.told(r, rec, route, time.Since(begun))
	}()
	if status, err := checkRequest(r); err != nil {
		writeProblemStatus(rec, r, status, err)
		return
	}
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.noRoute(rec, r)
		return
	}
	r.Body = http.MaxBytesReader(rec, r.Body, h.largestBody(r))
	h.mux.ServeHTTP(rec, r)
}

// noRoute says that a path leads nowhere, or which methods it knows: what the
// mux says too, in our words.
func (h *handler) noRoute(w http.ResponseWriter, r *http.Request) {
	says := &muted{header: http.Header{}}
	h.mux.ServeHTTP(says, r)
	if says.status == http.StatusMethodNotAllowed {
		allowed := says.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		writeProblemStatus(w, r, says.status, token.Errorf(token.ErrUsage, "%s does not take %s", r.URL.Path, r.Method).WithHint("it takes %s", allowed))
		return
	}
	writeProblem(w, r, token.Errorf(token.ErrNotFound, "there is no %s here", r.URL.Path))
}

// muted is an answer that nobody gets.
type muted struct {
	header http.Header
	status int
}

func (m *muted) Header() http.Header         { return m.header }
func (m *muted) Write(b []byte) (int, error) { return len(b), nil }
func (m *muted) WriteHeader(status int)      { m.status = status }

// handle registers a route whose handler returns what went wrong.
func (h *handler) handle(pattern string, fn func(http.ResponseWriter, *http.Request) error) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := fn(w, r); err != nil {
			writeProblem(w, r, err)
		}
	})
}

// secretParameters are what must never stand in a URL, where logs and histories
// keep it (RFC 6750 §5.3).
var secretParameters = []string{"access_token", "refresh_token", "token", "credential", "client_secret", "password", "passcode", "pass_code", "secret"}

// checkRequest says what is wrong with a request on any route but /verify.
func checkRequest(r *http.Request) (status int, err error) {
	if status, err := checkFraming(r); err != nil {
		return status, err
	}
	if len(r.Header["Cookie"]) > 0 {
		return http.StatusBadRequest, token.Errorf(token.ErrUsage, "cookies are not for this server").WithHint("send the credential in an Authorization header")
	}
	if strings.Contains(r.URL.RawQuery, "=") && secretInQuery(r.URL.RawQuery) {
		return http.StatusBadRequest, token.Errorf(token.ErrUsage, "a credential stands in the URL, where logs keep it").
			WithHint("send it in an Authorization header or in the body, and revoke this one")
	}
	return 0, nil
}

func secretInQuery(query string) bool {
	values, _ := url.ParseQuery(query)
	for _, name := range secretParameters {
		if values.Has(name) {
			return true
		}
	}
	return false
}

// checkFraming refuses requests that another server on the way may have read
// differently, and methods that nobody needs.
func checkFraming(r *http.Request) (status int, err error) {
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		return http.StatusMethodNotAllowed, token.Errorf(token.ErrUsage, "method %s is not allowed", r.Method)
	case r.URL.User != nil:
		return http.StatusBadRequest, token.Errorf(token.ErrUsage, "a credential stands in the URL, where logs keep it")
	case len(r.TransferEncoding) > 0:
		return http.StatusLengthRequired, token.Errorf(token.ErrUsage, "Transfer-Encoding is not taken").WithHint("send a Content-Length")
	case len(r.Header["Authorization"]) > 1:
		return http.StatusBadRequest, token.Errorf(token.ErrUsage, "there are %d Authorization headers", len(r.Header["Authorization"]))
	}
	return 0, nil
}

// NewProbes answers /livez, that the process runs, and /readyz, that it can
// answer questions.
func NewProbes(ready func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if err := ready(r.Context()); err != nil {
			// Why, is for the log: a probe has no credential.
			if n := noteOf(r); n != nil {
				n.err = err
			}
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	return mux
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, status >= 200
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// sampled is a logger that a flood cannot fill.
type sampled struct {
	log     *slog.Logger
	limiter *rate.Limiter
}

func newSampled(log *slog.Logger) *sampled {
	return &sampled{log, rate.NewLimiter(refusalsLogged, refusalsLogged)}
}

func (s *sampled) tell(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if s.log.Enabled(ctx, level) && s.limiter.Allow() {
		s.log.LogAttrs(ctx, level, message, attrs...)
	}
}
