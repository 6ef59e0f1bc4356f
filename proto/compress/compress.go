// Package compress is zstd for gRPC: importing it lets a process read streams that are compressed so, and write them with
// grpc.UseCompressor(compress.Name). Agents compress their inventory; docs/benchmarks.md says what that costs and saves.
//
// A message is compressed whole, by one of few encoders that all streams share: no stream keeps a window of its own, and a
// message that unpacks to more than a frame may have is refused before it is in memory.
package compress

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/encoding"

	"github.com/fairlead/fairlead/proto/link"
)

// Name is how gRPC's headers call it.
const Name = "zstd"

// window is about a batch: beyond it there is nothing to refer to, and an encoder keeps twice as much in memory.
const window = 256 << 10

// gRPC's registry may be written only while the process initialises.
func init() {
	encoding.RegisterCompressor(&compressor{
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			// No checksum: the transport has its own, and most frames are digests of some fifty bytes.
			return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window),
				zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		}),
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(link.MaxFrameBytes))
		}),
	})
}

// compressor makes its coders at first use; they are safe for any number of streams.
type compressor struct {
	encoder func() (*zstd.Encoder, error)
	decoder func() (*zstd.Decoder, error)
}

func (*compressor) Name() string { return Name }

// Compress returns a writer that compresses what it was given when it is closed.
func (c *compressor) Compress(w io.Writer) (io.WriteCloser, error) {
	encoder, err := c.encoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &message{encoder: encoder, to: w}, nil
}

type message struct {
	bytes.Buffer

	encoder *zstd.Encoder
	to      io.Writer
}

// Close writes the message.
func (m *message) Close() error {
	_, err := m.to.Write(m.encoder.EncodeAll(m.Bytes(), nil))
	return err
}

// Decompress reads a message, whose size gRPC has bounded, and unpacks it.
func (c *compressor) Decompress(r io.Reader) (io.Reader, error) {
	decoder, err := c.decoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	packed, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	unpacked, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return bytes.NewReader(unpacked), nil
}
