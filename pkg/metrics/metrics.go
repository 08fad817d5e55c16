// Package metrics counts for Prometheus what the server does. Whoever has
// something to count declares a small interface of its own; Server has the
// methods of all of them.
package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server is what a tokenctl server counts. It is safe for concurrent use.
type Server struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	verdicts    *prometheus.CounterVec
	connections *prometheus.GaugeVec
	certificate prometheus.Gauge

	routes labels
	series sync.Map // of series by requestLabels: looking one up in a vector makes garbage
	judged map[string]prometheus.Counter
}

// New makes the metrics of a server of a version, all zero, with those of the
// Go runtime (heap, garbage collector, goroutines) and of the process.
func New(version string) *Server {
	s := &Server{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenctl_http_requests_total", Help: "Requests that were answered.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenctl_http_request_duration_seconds", Help: "Time from the headers of a request to the end of its answer.",
			// Verifying takes some ten microseconds, argon2id 30 ms.
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"route"}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenctl_verdicts_total", Help: "Credentials that were judged, by outcome.",
		}, []string{"outcome"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tokenctl_http_connections", Help: "Connections that are open, by listener.",
		}, []string{"listener"}),
		certificate: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokenctl_tls_certificate_expiry_timestamp_seconds", Help: "When the certificate of the main listener expires; 0 without one.",
		}),
		judged: map[string]prometheus.Counter{},
	}
	built := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tokenctl_build_info", Help: "The version that runs; always 1.", ConstLabels: prometheus.Labels{"version": version},
	})
	built.Set(1)
	for _, outcome := range []string{"accepted", "refused", "cannot_tell", other} {
		s.judged[outcome] = s.verdicts.WithLabelValues(outcome)
	}
	s.registry.MustRegister(
		s.requests, s.seconds, s.verdicts, s.connections, s.certificate, built,
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsGC, collectors.MetricsMemory)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return s
}

// Handler answers with all metrics in the format that Prometheus reads.
func (s *Server) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry, MaxRequestsInFlight: 4})
}

// series is where a request is counted.
type series struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

type requestLabels struct {
	route, method string
	status        int
}

// Request counts a request that was answered. A route is a pattern of the
// server's; what is not known as method, route or status is counted as other.
func (s *Server) Request(route, method string, status int, took time.Duration) {
	l := requestLabels{s.routes.known(route), knownMethod(method), status}
	if status < 100 || status > 599 {
		l.status = 0
	}
	counted, ok := s.series.Load(l)
	if !ok {
		code := other
		if l.status != 0 {
			code = strconv.Itoa(l.status)
		}
		counted, _ = s.series.LoadOrStore(l, series{s.requests.WithLabelValues(l.route, l.method, code), s.seconds.WithLabelValues(l.route)})
	}
	counted.(series).count.Inc()
	counted.(series).seconds.Observe(took.Seconds())
}

// Verdict counts a credential that was judged: accepted, refused or
// cannot_tell.
func (s *Server) Verdict(outcome string) {
	if s.judged[outcome] == nil {
		outcome = other
	}
	s.judged[outcome].Inc()
}

// Connection notes that a listener's connection was opened or closed.
func (s *Server) Connection(listener string, opened bool) {
	change := -1.0
	if opened {
		change = 1
	}
	s.connections.WithLabelValues(listener).Add(change)
}

// CertificateExpires notes when the certificate in use expires.
func (s *Server) CertificateExpires(at time.Time) { s.certificate.Set(float64(at.Unix())) }

// other stands for all values of a label that are not known: a stranger must
// not be able to make new series.
const other = "other"

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodOptions, http.MethodTrace, http.MethodConnect,
}

func knownMethod(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return other
}

// maxRoutes is more than the server has.
const maxRoutes = 200

// labels are the values that a label has had, no more than maxRoutes.
type labels struct {
	seen  sync.Map
	mu    sync.Mutex
	count int
}

func (l *labels) known(value string) string {
	if _, ok := l.seen.Load(value); ok {
		return value
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == maxRoutes {
		return other
	}
	if _, there := l.seen.LoadOrStore(value, true); !there {
		l.count++
	}
	return value
}
