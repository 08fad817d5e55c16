package cmd

import (
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// serveSection is the part of the config file that is about serve, and how its
// keys begin for viper.
const serveSection = "serve"

// serveSettings are the settings of serve. Each is a flag of serve alone, a key
// of the section serve: of the config file, and TOKENCTL_SERVE_… in the
// environment.
var serveSettings = ofServe([]setting{
	{name: "listen", value: "127.0.0.1:8470", help: "where to serve: host:port"},
	{name: "tls_cert", value: "", help: "certificate chain of the server, PEM"},
	{name: "tls_key", value: "", help: "private key of the certificate, PEM"},
	{name: "metrics_listen", value: "", help: "where to serve metrics and probes: host:port"},
	{name: "trusted_proxies", flagName: "trusted-proxy", value: []string{}, help: "network whose X-Forwarded-For counts, such as 10.0.0.0/8; may be repeated"},
	{name: "issuer", value: "", help: "the issuer of access tokens, a URL; it is kept in the policy"},
	{name: "insecure_plain_http", value: false, help: "serve without TLS on other addresses than loopback"},
	{name: "drain_timeout", value: 10 * time.Second, help: "how long requests under way may last after SIGTERM"},
	{name: "log_level", value: "info", help: "what is logged: debug, info, warn, error"},
	{name: "read_header_timeout", value: 5 * time.Second, help: "how long reading a request's header may last"},
	{name: "read_timeout", value: 10 * time.Second, help: "how long reading a whole request may last"},
	{name: "write_timeout", value: 15 * time.Second, help: "how long answering may last"},
	{name: "idle_timeout", value: 60 * time.Second, help: "how long an idle connection is kept"},
	{name: "tls_handshake_timeout", value: 5 * time.Second, help: "how long a TLS handshake may last"},
	{name: "max_header_bytes", value: 16384, help: "size of a request's header at the most"},
	{name: "max_body", value: 65536, help: "size of a request's body at the most"},
	{name: "max_form_fields", value: 64, help: "fields of a form at the most"},
	{name: "max_json_depth", value: 32, help: "depth of JSON at the most"},
	{name: "max_bearer", value: 16384, help: "size of a Bearer credential at the most"},
	{name: "max_streams", value: 100, help: "streams of an HTTP/2 connection at the most"},
	{name: "max_connections", value: 1024, help: "connections at the most"},
})

func ofServe(list []setting) []setting {
	for i := range list {
		list[i].section, list[i].file, list[i].flag = serveSection, true, true
	}
	return list
}

// bindServe adds the flags of serve.
func (s *settings) bindServe(flags *pflag.FlagSet) {
	for _, set := range serveSettings {
		s.bindFlag(flags, set)
	}
}

// fileServe is what may stand in the section serve of the config file.
type fileServe struct {
	Listen              *string   `yaml:"listen"`
	TLSCert             *string   `yaml:"tls_cert"`
	TLSKey              *string   `yaml:"tls_key"`
	MetricsListen       *string   `yaml:"metrics_listen"`
	TrustedProxies      *[]string `yaml:"trusted_proxies"`
	Issuer              *string   `yaml:"issuer"`
	InsecurePlainHTTP   *bool     `yaml:"insecure_plain_http"`
	DrainTimeout        *string   `yaml:"drain_timeout"`
	LogLevel            *string   `yaml:"log_level"`
	ReadHeaderTimeout   *string   `yaml:"read_header_timeout"`
	ReadTimeout         *string   `yaml:"read_timeout"`
	WriteTimeout        *string   `yaml:"write_timeout"`
	IdleTimeout         *string   `yaml:"idle_timeout"`
	TLSHandshakeTimeout *string   `yaml:"tls_handshake_timeout"`
	MaxHeaderBytes      *int      `yaml:"max_header_bytes"`
	MaxBody             *int      `yaml:"max_body"`
	MaxFormFields       *int      `yaml:"max_form_fields"`
	MaxJSONDepth        *int      `yaml:"max_json_depth"`
	MaxBearer           *int      `yaml:"max_bearer"`
	MaxStreams          *int      `yaml:"max_streams"`
	MaxConnections      *int      `yaml:"max_connections"`
}

// The settings of serve, by their names in the config file.

func (s *settings) ServeText(name string) string { return s.v.GetString(serveKey(name)) }

func (s *settings) ServeBool(name string) bool { return s.v.GetBool(serveKey(name)) }

func (s *settings) ServeInt(name string) int { return s.v.GetInt(serveKey(name)) }

func (s *settings) ServeDuration(name string) time.Duration { return s.v.GetDuration(serveKey(name)) }

// ServeList is a setting of several texts. The environment has them in one,
// with commas or spaces between.
func (s *settings) ServeList(name string) []string {
	return strings.FieldsFunc(strings.Join(s.v.GetStringSlice(serveKey(name)), ","), func(r rune) bool { return r == ',' || r == ' ' })
}

// serveKey is the key of a setting of serve. A name that is none is a bug.
func serveKey(name string) string {
	for _, set := range serveSettings {
		if set.name == name {
			return set.key()
		}
	}
	panic("no setting of serve: " + name)
}
