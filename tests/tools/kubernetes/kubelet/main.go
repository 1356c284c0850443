// The part of a kubelet that API servers call: port-forward and logs, for pods whose processes the
// lab runs. Kubernetes' own code speaks the streaming protocols; the lab says where a port is.
//
//	kubelet --cert f --key f --serve 127.0.0.1:P1=127.0.0.1:R1 --serve ...   (one a cluster)
//
// For each stream it sends R "forward NAMESPACE POD PORT\n" and, after the answer "ok\n", joins the
// stream to that connection; for logs "logs NAMESPACE POD\n", where the text follows.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

func main() {
	cert, key := flag.String("cert", "", "certificate"), flag.String("key", "", "private key")
	var serve []string
	flag.Func("serve", "listen address=resolver address", func(s string) error {
		serve = append(serve, s)
		return nil
	})
	flag.Parse()
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	failed := make(chan error)
	for _, s := range serve {
		listen, resolver, _ := strings.Cut(s, "=")
		listener, err := tls.Listen("tcp", listen, &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			log.Fatal(err)
		}
		go func() { failed <- http.Serve(listener, handler(pods{resolver})) }()
	}
	log.Fatal(<-failed)
}

func handler(p pods) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		name := r.PathValue("namespace") + " " + r.PathValue("pod")
		portforward.ServePortForward(w, r, p, name, "", options,
			4*time.Hour, 30*time.Second, portforward.SupportedProtocols)
	})
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		conn, reader, err := p.ask("logs " + r.PathValue("namespace") + " " + r.PathValue("pod"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer conn.Close()
		_, _ = io.Copy(w, reader)
	})
	return mux
}

// pods reaches the lab's processes.
type pods struct{ resolver string }

func (p pods) PortForward(_ context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, reader, err := p.ask(fmt.Sprintf("forward %s %d", name, port))
	if err != nil {
		return err
	}
	defer conn.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(stream, reader)
		_ = stream.Close()
		close(done)
	}()
	_, _ = io.Copy(conn, stream)
	_ = conn.(*net.TCPConn).CloseWrite()
	<-done
	return nil
}

func (p pods) ask(question string) (net.Conn, io.Reader, error) {
	conn, err := net.Dial("tcp", p.resolver)
	if err != nil {
		return nil, nil, err
	}
	if _, err = fmt.Fprintln(conn, question); err == nil {
		reader := bufio.NewReader(conn)
		var answer string
		if answer, err = reader.ReadString('\n'); err == nil && answer == "ok\n" {
			return conn, reader, nil
		} else if err == nil {
			err = fmt.Errorf("%s", strings.TrimSpace(answer))
		}
	}
	conn.Close()
	return nil, nil, err
}
