package httpapi

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// note is what the log is to say of a request beside what it asked for.
type note struct {
	id     string // goes into errors too, so that both are found together
	caller string
	err    error
}

type noteKey struct{}

// noteOf is the note of a request, or nil.
func noteOf(r *http.Request) *note {
	n, _ := r.Context().Value(noteKey{}).(*note)
	return n
}

// requestID is what errors and the log call a request by.
func requestID(r *http.Request) string {
	if n := noteOf(r); n != nil {
		return n.id
	}
	return ""
}

func newRequestID() string { return rand.Text()[:16] }

// loggable is an error without the secrets that somebody has put where none
// belongs, such as into a path.
func loggable(err error) string {
	text := err.Error()
	if secret.Contains(text) {
		return "an error whose text holds a secret: it was sent where none belongs"
	}
	return text
}

// told writes the line about a request, and counts it. Probes come every few
// seconds and are only told when they fail.
func (h *handler) told(r *http.Request, rec *recorder, route string, took time.Duration) {
	h.Observer.Request(route, r.Method, rec.status, took)
	level := slog.LevelInfo
	switch {
	case rec.status >= 500:
		level = slog.LevelError
	case r.URL.Path == "/livez" || r.URL.Path == "/readyz":
		level = slog.LevelDebug
	}
	if !h.Log.Enabled(context.Background(), level) {
		return
	}
	// Whoever is refused, or has to wait, may ask for ever.
	if rec.status >= 400 && rec.status < 500 && !h.refusals.Allow() || rec.status == http.StatusServiceUnavailable && !h.doubts.Allow() {
		return
	}
	n := noteOf(r)
	attrs := []slog.Attr{
		slog.String("request_id", n.id), slog.String("method", r.Method), slog.String("route", route),
		slog.Int("status", rec.status), slog.Float64("took_ms", float64(took.Microseconds())/1000), slog.String("from", h.clientAddress(r)),
	}
	if n.caller != "" {
		attrs = append(attrs, slog.String("caller", n.caller))
	}
	if n.err != nil {
		attrs = append(attrs, slog.String("error", loggable(n.err)))
	}
	h.Log.LogAttrs(context.Background(), level, "request", attrs...)
}
