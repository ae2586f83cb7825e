// Asio and Beast, compiled once. Whoever includes them links dislock::boost, whose definitions say so.
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
