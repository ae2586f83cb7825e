#include "engines/redis/wire/tls.hpp"

// Asio's part of it, compiled once: see src/base/boost_sources.cpp for the rest.
#include <boost/asio/ssl/impl/src.hpp>

namespace dislock::redis {

namespace ssl = boost::asio::ssl;

result<std::unique_ptr<ssl::context>> make_tls(const tls_terms& terms) {
  if (!terms.on) return std::unique_ptr<ssl::context>();
  boost::system::error_code ec;
  const auto wrong = [&](std::string what) {
    error e;
    e.code = errc::invalid_field;
    e.detail = "url: " + std::move(what) + ": " + ec.message();
    return e;
  };
  auto out = std::make_unique<ssl::context>(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(out->native_handle(), TLS1_2_VERSION);
  if (terms.verify) {
    out->set_verify_mode(ssl::verify_peer, ec);
    if (terms.ca_file.empty()) {
      out->set_default_verify_paths(ec);
    } else {
      out->load_verify_file(terms.ca_file, ec);
    }
    if (ec) return wrong("ca");
  } else {
    out->set_verify_mode(ssl::verify_none, ec);
  }
  if (!terms.cert_file.empty()) {
    out->use_certificate_chain_file(terms.cert_file, ec);
    if (ec) return wrong("cert");
    out->use_private_key_file(terms.key_file, ssl::context::pem, ec);
    if (ec) return wrong("key");
  }
  return out;
}

}  // namespace dislock::redis
