#include "launcher/program.h"
#include "tasks/standard_tasks.h"

int main(int argc, char** argv) {
  return triptych::run_program(argc, argv, triptych::standard_tasks());
}
